// What a model tells of itself, as a Python dict.
#pragma once

#include "pybind.hpp"

namespace smith {

class Model;

py::dict facts(const Model & model);

}  // namespace smith
