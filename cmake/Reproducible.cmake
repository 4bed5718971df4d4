# The same inputs give the same bytes, in whatever folder they are built: no path of this machine gets into a library
# (ggml's assertions hold __FILE__). Appended to the variables that all sub-builds are given; what the user gave is kept
# apart, for the record of the build.
set(LLAMASMITH_GIVEN_C_FLAGS "${CMAKE_C_FLAGS}")
set(maps "-ffile-prefix-map=${PROJECT_SOURCE_DIR}=llamasmith" "-ffile-prefix-map=${PROJECT_BINARY_DIR}=build")
foreach(map IN LISTS maps) # the last that fits counts: the build folder may lie in the source folder
    if(map MATCHES " ") # flags are one string, which sub-builds take apart at spaces; wheels are built where there are none
        continue()
    endif()
    string(APPEND CMAKE_C_FLAGS " ${map}")
    string(APPEND CMAKE_CXX_FLAGS " ${map}")
endforeach()
