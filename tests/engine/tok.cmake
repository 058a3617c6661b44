# Model files and tokenizers.
pkg_check_modules(JANSSON REQUIRED IMPORTED_TARGET jansson)
set(tok_dir ${PROJECT_SOURCE_DIR}/tests/engine)
hsd_test(engine_gguf SOURCES ${tok_dir}/test_gguf.c OBJECTS base kernels engine)
hsd_test(engine_tokenizer SOURCES ${tok_dir}/test_tokenizer.c OBJECTS base kernels engine)
hsd_test(engine_detok SOURCES ${tok_dir}/test_tokenizer_detok.c OBJECTS base kernels engine)
hsd_test(engine_pretok SOURCES ${tok_dir}/test_tokenizer_pretok.c OBJECTS base kernels engine
         LIBS PkgConfig::JANSSON)
hsd_test(engine_tokenizer_vectors SOURCES ${tok_dir}/test_tokenizer_vectors.c
         OBJECTS base kernels engine LIBS PkgConfig::JANSSON)
