# What goes into the wheel: our own install component, so that upstream's install rules never leak into it.
set(component llamasmith)
set(package llamasmith)

foreach(target IN LISTS LLAMASMITH_LIBRARIES)
    install(FILES $<TARGET_FILE:${target}> DESTINATION ${package}/lib COMPONENT ${component})
endforeach()
install(TARGETS _core LIBRARY DESTINATION ${package} COMPONENT ${component})

foreach(engine IN LISTS LLAMASMITH_ENGINES_BUILT)
    install(PROGRAMS "${PROJECT_BINARY_DIR}/engines/${engine}/libggml-cpu.so"
        DESTINATION ${package}/engines/${engine} COMPONENT ${component})
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

# The record of this build, read by llamasmith.build_info().
llamasmith_python(
    COMMAND cmake/record.py
        --patchset "${PROJECT_BINARY_DIR}/patchset.json"
        --options "${PROJECT_BINARY_DIR}/options.json"
        --compiler "${CMAKE_CXX_COMPILER_ID} ${CMAKE_CXX_COMPILER_VERSION}"
        --build-type "${CMAKE_BUILD_TYPE}"
        "--flags=${LLAMASMITH_GIVEN_C_FLAGS} ${CMAKE_C_FLAGS_RELEASE}"
        "--tools=${LLAMASMITH_TOOL_TARGETS}"
        --out "${PROJECT_BINARY_DIR}/build.json"
    FAILS_WITH "the build cannot be recorded")
install(FILES "${PROJECT_BINARY_DIR}/build.json" DESTINATION ${package} COMPONENT ${component})

# The same facts as a bill of materials (CycloneDX), where PEP 770 wants it; without scikit-build-core, nowhere.
llamasmith_python(
    COMMAND cmake/sbom.py
        --record "${PROJECT_BINARY_DIR}/build.json"
        --name "${SKBUILD_PROJECT_NAME}"
        --version "${SKBUILD_PROJECT_VERSION_FULL}"
        --pybind11 "${pybind11_VERSION}"
        --out "${PROJECT_BINARY_DIR}/sbom.cdx.json"
    FAILS_WITH "the bill of materials cannot be written")
if(SKBUILD_METADATA_DIR)
    install(FILES "${PROJECT_BINARY_DIR}/sbom.cdx.json" DESTINATION "${SKBUILD_METADATA_DIR}/sboms"
        RENAME "${SKBUILD_PROJECT_NAME}.cdx.json" COMPONENT ${component})
endif()
