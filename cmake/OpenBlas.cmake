# Finds OpenBLAS for the backend openblas, or stops and says what to install: a wheel of the package index that lies in
# the build's Python, or the system's. Tells Backends.cmake what it wants to know of every backend.

set(openblas_PACKAGE llamasmith_openblas)
set(found "")

if(LLAMASMITH_OPENBLAS MATCHES "^(auto|wheel)$")
    execute_process(COMMAND "${Python_EXECUTABLE}" "${PROJECT_SOURCE_DIR}/cmake/openblas_wheel.py"
        OUTPUT_VARIABLE wheel OUTPUT_STRIP_TRAILING_WHITESPACE RESULT_VARIABLE result)
    if(result EQUAL 0)
        string(REPLACE "\n" ";" wheel "${wheel}")
        list(GET wheel 0 include)
        list(GET wheel 1 library)
        list(GET wheel 2 version)
        cmake_path(GET library FILENAME soname)
        set(found wheel)
        set(openblas_RPATH scipy_openblas32/lib) # below site-packages
        set(openblas_NEEDS "${soname}=pip install scipy-openblas32")
        # Its header declares nothing but names with a prefix.
        set(names cblas_sgemm=scipy_cblas_sgemm openblas_set_num_threads=scipy_openblas_set_num_threads)
    endif()
endif()

if(NOT found AND LLAMASMITH_OPENBLAS MATCHES "^(auto|system)$")
    find_path(include cblas.h PATH_SUFFIXES openblas openblas-pthread NO_CACHE)
    find_library(library openblas PATH_SUFFIXES openblas-pthread NO_CACHE)
    if(include AND library)
        set(found system)
        set(version "")
        if(EXISTS "${include}/openblas_config.h")
            file(STRINGS "${include}/openblas_config.h" version REGEX "OPENBLAS_VERSION")
            string(REGEX MATCH "[0-9]+[0-9.]+" version "${version}")
        endif()
        set(openblas_RPATH "")
        set(openblas_NEEDS "libopenblas.so.0=apt-get install libopenblas0 (Debian, Ubuntu)")
        set(names "")
    endif()
endif()

set(how "Install it: on Debian and Ubuntu `apt-get install libopenblas-dev`, or from the package index "
    "`scipy-openblas32`: pip install -C build.requires=scipy-openblas32 with the rest of your command line, or "
    "`pip install scipy-openblas32` and pip install --no-build-isolation.")
list(JOIN how "" how)
if(NOT found)
    message(FATAL_ERROR "llamasmith: the backend openblas was asked for (LLAMASMITH_OPENBLAS=${LLAMASMITH_OPENBLAS}), "
        "but OpenBLAS is not there. ${how}")
endif()

list(TRANSFORM names PREPEND "-D" OUTPUT_VARIABLE definitions)
set(probe "
    #include <cblas.h>
    int main(void) {
        float x = 1;
        openblas_set_num_threads(1);
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, 1, 1, 1, 1, &x, 1, &x, 1, 0, &x, 1);
        return 0;
    }
")
try_compile(works
    SOURCE_FROM_VAR probe.c probe
    COMPILE_DEFINITIONS ${definitions}
    LINK_LIBRARIES "${library}"
    CMAKE_FLAGS "-DINCLUDE_DIRECTORIES=${include}"
    OUTPUT_VARIABLE output
    NO_CACHE)
if(NOT works)
    string(REGEX MATCHALL "[^\n]*(error|undefined|not found)[^\n]*" reasons "${output}")
    list(JOIN reasons "\n  " reasons)
    message(FATAL_ERROR "llamasmith: what was found for the backend openblas cannot be compiled and linked with: header "
        "${include}/cblas.h, library ${library}. It may be another BLAS, or of another architecture. ${how}\n  ${reasons}")
endif()

set(openblas_ARGS
    "-DBACKEND_BLAS_INCLUDE:PATH=${include}"
    "-DBACKEND_BLAS_LIBRARY:FILEPATH=${library}"
    "-DBACKEND_BLAS_NAMES:STRING=${names}")
set(openblas_FACTS "library=OpenBLAS ${version}" "from=${found}")
message(STATUS "llamasmith: backend openblas with OpenBLAS ${version} (${found}: ${library})")
