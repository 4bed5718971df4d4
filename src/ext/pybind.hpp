// The one place that includes pybind11. Nothing but register_*.cpp, module.cpp, errors.cpp and log.cpp needs it.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

namespace py = pybind11;
