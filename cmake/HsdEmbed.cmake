# cmake -DOUT=file.c -DNAME=symbol -DFILES=a,b -P HsdEmbed.cmake: the files, one behind the other,
# as an array of bytes. (C guarantees string literals of 4,095 characters only.)
string(REPLACE "," ";" FILES "${FILES}")
set(hex "")
foreach(file ${FILES})
  file(READ ${file} text HEX)
  string(APPEND hex "${text}")
endforeach()
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${hex}")
string(REGEX REPLACE "(................................................................................)" "\\1\n" bytes "${bytes}")
file(WRITE ${OUT} "#include \"kernels/opencl/source.h\"\n\n"
  "const unsigned char ${NAME}[] = {\n${bytes}\n};\nconst size_t ${NAME}_bytes = sizeof ${NAME};\n")
