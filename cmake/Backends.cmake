# One sub-build for each backend besides cpu: a loadable module from the patched tree, by ggml's own CMake, and a
# backend.json beside it that says what it was built from. cmake/backend/<name>.cmake has what is special in the
# sub-build. What must be found here, in the configure step, so that it can be missed here, is a file of its own that
# sets:
#   <name>_ARGS      definitions for the sub-build
#   <name>_RPATH     folders with libraries that it needs, below site-packages
#   <name>_NEEDS     these libraries, each as "soname=how to install it": what an error at load time tells
#   <name>_FACTS     "key=value", for people: what it was built with
#   <name>_PACKAGE   the package that carries it in a wheel of its own
set(finder_of_openblas OpenBlas)
set(finder_of_cuda CudaToolkit)

set(kind_of_openblas blas)
set(kind_of_cuda cuda)
set(kind_of_rpc rpc)

foreach(backend IN LISTS LLAMASMITH_BACKENDS_BUILT)
    set(kind ${kind_of_${backend}})
    set(${backend}_PACKAGE llamasmith_${backend})
    foreach(what ARGS RPATH NEEDS FACTS)
        set(${backend}_${what} "")
    endforeach()
    if(finder_of_${backend})
        include(${finder_of_${backend}})
    endif()

    # Neighbours first, before LD_LIBRARY_PATH too; then what comes from other wheels.
    if(LLAMASMITH_CORE)
        set(rpath "$ORIGIN/../../lib")
        set(to_site_packages "$ORIGIN/../../..")
    else()
        set(rpath "$ORIGIN/../llamasmith/lib")
        set(to_site_packages "$ORIGIN/..")
    endif()
    foreach(folder IN LISTS ${backend}_RPATH)
        list(APPEND rpath "${to_site_packages}/${folder}")
    endforeach()

    set(output "${PROJECT_BINARY_DIR}/backends/${backend}")
    ExternalProject_Add(backend-${backend}
        SOURCE_DIR "${PROJECT_SOURCE_DIR}/cmake/backend"
        BINARY_DIR "${PROJECT_BINARY_DIR}/backend-${backend}"
        PREFIX "${PROJECT_BINARY_DIR}/backend-${backend}-prefix"
        CMAKE_CACHE_ARGS
            ${LLAMASMITH_SUB_BUILD_ARGS}
            "-DBACKEND_NAME:STRING=${backend}"
            "-DBACKEND_KIND:STRING=${kind}"
            "-DBACKEND_GGML_DIR:PATH=${LLAMASMITH_PATCHED}/ggml"
            "-DBACKEND_SOURCE_DIR:PATH=${PROJECT_SOURCE_DIR}/src"
            "-DBACKEND_OUTPUT_DIR:PATH=${output}"
            "-DBACKEND_RPATH:STRING=${rpath}"
            ${${backend}_ARGS}
            ${LLAMASMITH_BACKEND_ARGS_${backend}}
        BUILD_COMMAND ${CMAKE_COMMAND} --build <BINARY_DIR> --target ggml-${kind} ${jobs}
        INSTALL_COMMAND ""
        BUILD_ALWAYS ON            # ninja in the sub-build knows what is up to date, we do not
        BUILD_BYPRODUCTS "${output}/libggml-${kind}.so"
        USES_TERMINAL_BUILD ON     # shows progress, and keeps the sub-builds from running all at once
        DEPENDS ${previous})
    set(previous backend-${backend})

    set(record "")
    foreach(what NEEDS FACTS)
        string(TOLOWER ${what} option)
        foreach(line IN LISTS ${backend}_${what})
            list(APPEND record "--${option}=${line}")
        endforeach()
    endforeach()
    llamasmith_python(
        COMMAND cmake/backend_record.py ${record}
            --name "${backend}"
            --library "libggml-${kind}.so"
            --pyproject "${PROJECT_SOURCE_DIR}/pyproject.toml"
            --patchset "${PROJECT_BINARY_DIR}/patchset.json"
            --ggml "${LLAMASMITH_PATCHED}/ggml"
            --compiler "${CMAKE_CXX_COMPILER_ID} ${CMAKE_CXX_COMPILER_VERSION}"
            --out "${output}/backend.json"
        FAILS_WITH "the backend ${backend} cannot be recorded")
endforeach()
