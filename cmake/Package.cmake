# What goes into the wheel: our own install component, so that upstream's install rules never leak into it.
set(component llamasmith)
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

install(FILES "${LLAMASMITH_VENDOR}/LICENSE" DESTINATION ${package}/licenses RENAME llama.cpp.txt
    COMPONENT ${component})
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
        "--flags=${CMAKE_C_FLAGS} ${CMAKE_C_FLAGS_RELEASE}"
        "--tools=${LLAMASMITH_TOOL_TARGETS}"
        --out "${PROJECT_BINARY_DIR}/build.json"
    FAILS_WITH "the build cannot be recorded")
install(FILES "${PROJECT_BINARY_DIR}/build.json" DESTINATION ${package} COMPONENT ${component})
