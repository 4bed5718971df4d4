# Our own Python code runs in the build too: with the build's interpreter, from the source tree, leaving no files there.
function(llamasmith_python)
    cmake_parse_arguments(PARSE_ARGV 0 ARG "" "FAILS_WITH" "COMMAND;FORGET") # keeps semicolons inside an argument
    execute_process(
        COMMAND ${CMAKE_COMMAND} -E env
            "PYTHONPATH=${PROJECT_SOURCE_DIR}/python:$ENV{PYTHONPATH}" PYTHONDONTWRITEBYTECODE=1
            "${Python_EXECUTABLE}" ${ARG_COMMAND}
        WORKING_DIRECTORY "${PROJECT_SOURCE_DIR}"
        RESULT_VARIABLE result)
    if(NOT result EQUAL 0)
        # A cache that kept what was refused would refuse it for ever, in a build folder that stays.
        foreach(name IN LISTS ARG_FORGET)
            unset(${name} CACHE)
        endforeach()
        # The script has said on standard error what is wrong and what to do.
        message(FATAL_ERROR "llamasmith: ${ARG_FAILS_WITH} (see the message above)")
    endif()
endfunction()
