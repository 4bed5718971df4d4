# Our own Python code runs in the build too: with the build's interpreter, from the source tree, leaving no files there.
function(llamasmith_python)
    cmake_parse_arguments(ARG "" "RESULT;OUTPUT;FAILS_WITH" "COMMAND" ${ARGN})
    execute_process(
        COMMAND ${CMAKE_COMMAND} -E env
            "PYTHONPATH=${PROJECT_SOURCE_DIR}/python:$ENV{PYTHONPATH}" PYTHONDONTWRITEBYTECODE=1
            "${Python_EXECUTABLE}" ${ARG_COMMAND}
        WORKING_DIRECTORY "${PROJECT_SOURCE_DIR}"
        OUTPUT_VARIABLE output
        RESULT_VARIABLE result
        OUTPUT_STRIP_TRAILING_WHITESPACE
        ECHO_OUTPUT_VARIABLE)
    if(NOT result EQUAL 0)
        # The script has said on standard error what is wrong and what to do.
        message(FATAL_ERROR "llamasmith: ${ARG_FAILS_WITH} (see the message above)")
    endif()
    if(ARG_OUTPUT)
        set(${ARG_OUTPUT} "${output}" PARENT_SCOPE)
    endif()
endfunction()
