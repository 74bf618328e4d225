// The instruction sets this library was compiled for, and which of them this machine has.
#pragma once

#include "kernels.h"

namespace localgpt {

struct Path {
    const char* name;
    const Kernels* kernels;
};

// The path of that name, or the best one for null or ""; null if this machine or this library lacks it.
const Path* find_path(const char* name);

// Names of all paths that can run here, best first, with commas between them.
const char* path_names();

}  // namespace localgpt
