# What goes into a wheel: install components of our own, so that upstream's install rules never leak into it. The core
# wheel is the component llamasmith; a backend's own wheel is backend-<name>.
foreach(backend IN LISTS LLAMASMITH_BACKENDS_BUILT)
    if(LLAMASMITH_CORE)
        set(component llamasmith)
        set(destination llamasmith/backends/${backend})
    else()
        set(component backend-${backend})
        set(destination ${${backend}_PACKAGE})
        install(FILES "${LLAMASMITH_VENDOR}/LICENSE" DESTINATION ${destination}/licenses RENAME llama.cpp.txt
            COMPONENT ${component})
    endif()
    set(built "${PROJECT_BINARY_DIR}/backends/${backend}")
    install(PROGRAMS "${built}/libggml-${kind_of_${backend}}.so" DESTINATION ${destination} COMPONENT ${component})
    install(FILES "${built}/backend.json" DESTINATION ${destination} COMPONENT ${component})
endforeach()
# The record of this build, read by llamasmith.build_info(), and the same facts as a bill of materials (CycloneDX).
llamasmith_python(
    COMMAND cmake/record.py
        --patchset "${PROJECT_BINARY_DIR}/patchset.json"
        --options "${PROJECT_BINARY_DIR}/options.json"
        --ggml "${LLAMASMITH_PATCHED}/ggml"
        --backends "${PROJECT_BINARY_DIR}/backends"
        --compiler "${CMAKE_CXX_COMPILER_ID} ${CMAKE_CXX_COMPILER_VERSION}"
        --build-type "${CMAKE_BUILD_TYPE}"
        "--flags=${LLAMASMITH_GIVEN_C_FLAGS} ${CMAKE_C_FLAGS_RELEASE}"
        "--tools=${LLAMASMITH_TOOL_TARGETS}"
        --out "${PROJECT_BINARY_DIR}/build.json"
    FAILS_WITH "the build cannot be recorded")
if(LLAMASMITH_CORE)
    set(component llamasmith)
endif() # else that of the one backend, set above
# Where PEP 770 wants it; nowhere without our build backend, which says why (cmake/pep517).
if(SKBUILD_METADATA_DIR AND DEFINED ENV{LLAMASMITH_BUILD_BACKEND})
    llamasmith_python(
        COMMAND cmake/sbom.py
            --record "${PROJECT_BINARY_DIR}/build.json"
            --name "${SKBUILD_PROJECT_NAME}"
            --version "${SKBUILD_PROJECT_VERSION_FULL}"
            "--pybind11=${pybind11_VERSION}" # empty where no extension is built
            --out "${PROJECT_BINARY_DIR}/sbom.cdx.json"
        FAILS_WITH "the bill of materials cannot be written")
    install(FILES "${PROJECT_BINARY_DIR}/sbom.cdx.json" DESTINATION "${SKBUILD_METADATA_DIR}/sboms"
        RENAME "${SKBUILD_PROJECT_NAME}.cdx.json" COMPONENT ${component})
endif()
if(NOT LLAMASMITH_CORE)
    return()
endif()

set(package llamasmith)

foreach(target IN LISTS LLAMASMITH_LIBRARIES)
    install(FILES $<TARGET_FILE:${target}> DESTINATION ${package}/lib COMPONENT ${component})
endforeach()
install(TARGETS _core LIBRARY DESTINATION ${package} COMPONENT ${component})

foreach(engine IN LISTS LLAMASMITH_ENGINES_BUILT)
    foreach(target IN LISTS LLAMASMITH_ENGINE_TARGETS)
        install(PROGRAMS "${PROJECT_BINARY_DIR}/engines/${engine}/lib${target}.so"
            DESTINATION ${package}/engines/${engine} COMPONENT ${component})
    endforeach()
    if(LLAMASMITH_VARIANTS_BUILT)
        install(FILES "${PROJECT_BINARY_DIR}/variants.json"
            DESTINATION ${package}/engines/${engine} COMPONENT ${component})
    endif()
    # A tool looks for its engine beside itself: one small executable for each engine, the code is in lib/.
    foreach(tool IN LISTS LLAMASMITH_TOOL_TARGETS)
        install(PROGRAMS $<TARGET_FILE:${tool}> DESTINATION ${package}/engines/${engine} COMPONENT ${component})
    endforeach()
endforeach()

llamasmith_python(
    COMMAND cmake/licences.py
        --vendor "${LLAMASMITH_VENDOR}"
        --pybind11 "${pybind11_INCLUDE_DIR}"
        --out "${PROJECT_BINARY_DIR}/licences"
    FAILS_WITH "the licences cannot be gathered")
install(DIRECTORY "${PROJECT_BINARY_DIR}/licences/" DESTINATION ${package}/licenses COMPONENT ${component})
if(LLAMASMITH_TOOLS)
    install(DIRECTORY "${LLAMASMITH_VENDOR}/licenses/" DESTINATION ${package}/licenses COMPONENT ${component})
endif()
install(FILES "${PROJECT_BINARY_DIR}/build.json" DESTINATION ${package} COMPONENT ${component})
