# Model files and tokenizers.
set(tok_dir ${PROJECT_SOURCE_DIR}/tests/engine)
set(tok_objects base kernels topology devices pipelines engine)
set(tok_libs PkgConfig::JANSSON PkgConfig::PCRE2 PkgConfig::ZMQ PkgConfig::HWLOC PkgConfig::CYAML)
foreach(noun gguf tokenizer tokenizer_detok tokenizer_pretok tokenizer_vectors)
  hsd_test(engine_${noun} SOURCES ${tok_dir}/test_${noun}.c OBJECTS ${tok_objects}
           LIBS ${tok_libs})
endforeach()
