// The one place that includes pybind11. Nothing but register_*.cpp, module.cpp, errors.cpp and log.cpp needs it.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <string>

namespace py = pybind11;

// Text from native code, which may hold anything that was in a file: what is not UTF-8 becomes U+FFFD.
inline py::str to_str(const std::string & text) {
    PyObject * str = PyUnicode_DecodeUTF8(text.data(), static_cast<Py_ssize_t>(text.size()), "replace");
    if (str == nullptr) {
        throw py::error_already_set();
    }
    return py::reinterpret_steal<py::str>(str);
}
