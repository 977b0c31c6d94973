# libtorch straight from its libraries: Torch's own CMake package asks for a CUDA toolkit as soon as the wheel is a CUDA
# build, which a CPU build does not need. Makes concord_torch_libraries (link only) and concord_torch (with headers).

# One installation: where its library is, there are its headers and its other libraries. The one that CONCORD_TORCH_DIR names, or else the
# wheel of .venv, or else the first on CMake's paths.
if(CONCORD_TORCH_DIR)
  find_library(TORCH_CPU_LIBRARY torch_cpu PATHS ${CONCORD_TORCH_DIR} PATH_SUFFIXES lib NO_DEFAULT_PATH)
else()
  file(GLOB venv_torch ${CMAKE_SOURCE_DIR}/.venv/lib/python3*/site-packages/torch)
  find_library(TORCH_CPU_LIBRARY torch_cpu PATHS ${venv_torch} PATH_SUFFIXES lib NO_DEFAULT_PATH)
  find_library(TORCH_CPU_LIBRARY torch_cpu)
endif()
if(NOT TORCH_CPU_LIBRARY)
  return()
endif()
get_filename_component(torch_lib_dir ${TORCH_CPU_LIBRARY} DIRECTORY)
set(torch_include_dirs ${torch_lib_dir}/../include ${torch_lib_dir}/../../include) # of a wheel; of a system, such as /usr/lib/x86_64-linux-gnu
find_path(TORCH_INCLUDE_DIR torch/extension.h PATHS ${torch_include_dirs} NO_DEFAULT_PATH)
foreach(dir torch_lib_dir TORCH_INCLUDE_DIR CONCORD_TORCH_DIR)
  file(REAL_PATH "${${dir}}" real_${dir})
endforeach()
set(belongs OFF)
foreach(dir ${torch_include_dirs})
  file(REAL_PATH ${dir} real_dir)
  if(TORCH_INCLUDE_DIR AND real_dir STREQUAL real_TORCH_INCLUDE_DIR)
    set(belongs ON)
  endif()
endforeach()
if(NOT belongs OR (CONCORD_TORCH_DIR AND NOT real_torch_lib_dir STREQUAL "${real_CONCORD_TORCH_DIR}/lib"
                   AND NOT real_torch_lib_dir STREQUAL real_CONCORD_TORCH_DIR))
  message(FATAL_ERROR "libtorch's parts are not of one installation: library ${TORCH_CPU_LIBRARY}, headers ${TORCH_INCLUDE_DIR}, "
                      "CONCORD_TORCH_DIR \"${CONCORD_TORCH_DIR}\". Set CONCORD_TORCH_DIR to a torch folder with lib and include, in a new build folder.")
endif()
find_library(TORCH_C10_LIBRARY c10 PATHS ${torch_lib_dir} NO_DEFAULT_PATH REQUIRED)

add_library(concord_torch_libraries INTERFACE)
# As link options, not libraries: options stand before every library of the command line, whatever the order of targets, so
# libtorch_cpu is the first library in which the loader looks for BLAS. Behind liblapack's BLAS, Torch's own matrix
# products would bind to that one and run 10 times slower.
target_link_options(concord_torch_libraries INTERFACE
  "SHELL:-Wl,--push-state,--no-as-needed ${TORCH_CPU_LIBRARY} ${TORCH_C10_LIBRARY} -Wl,--pop-state")
target_link_libraries(concord_torch_libraries INTERFACE ${TORCH_CPU_LIBRARY} ${TORCH_C10_LIBRARY})
# The wheel finds its CUDA runtime by its own RUNPATH; the linker must be told where that is.
file(GLOB nvidia_lib_dirs ${torch_lib_dir}/../../nvidia/*/lib)
foreach(dir ${nvidia_lib_dirs} ${torch_lib_dir})
  target_link_options(concord_torch_libraries INTERFACE -Wl,-rpath-link,${dir})
endforeach()
if(CONCORD_PORTABLE)
  # What libtorch_cuda needs is wherever its wheel is.
  target_link_options(concord_torch_libraries INTERFACE -Wl,--unresolved-symbols=ignore-in-shared-libs)
else()
  target_link_options(concord_torch_libraries INTERFACE -Wl,-rpath,${torch_lib_dir})
endif()

if(CONCORD_CUDA)
  find_package(CUDAToolkit REQUIRED)
  if(NOT CMAKE_CUDA_COMPILER)
    set(CMAKE_CUDA_COMPILER ${CUDAToolkit_NVCC_EXECUTABLE})
  endif()
  if(NOT CMAKE_CUDA_ARCHITECTURES)
    set(CMAKE_CUDA_ARCHITECTURES 80 90) # A100, H100
  endif()
  enable_language(CUDA)
  set(CMAKE_CUDA_RUNTIME_LIBRARY Shared) # one runtime, libtorch's
  if(NOT CONCORD_PORTABLE) # it names the sources
    string(APPEND CMAKE_CUDA_FLAGS " -lineinfo")
  endif()
  find_library(TORCH_CUDA_LIBRARY torch_cuda PATHS ${torch_lib_dir} NO_DEFAULT_PATH REQUIRED)
  find_library(TORCH_C10_CUDA_LIBRARY c10_cuda PATHS ${torch_lib_dir} NO_DEFAULT_PATH REQUIRED)
  target_link_options(concord_torch_libraries INTERFACE
    "SHELL:-Wl,--push-state,--no-as-needed ${TORCH_CUDA_LIBRARY} ${TORCH_C10_CUDA_LIBRARY} -Wl,--pop-state")
  target_link_libraries(concord_torch_libraries INTERFACE CUDA::cudart)
  # Of all modules, not of those alone that see Torch: comm binds ranks to GPUs.
  add_compile_definitions(CONCORD_CUDA=1)
  find_path(NCCL_INCLUDE_DIR nccl.h HINTS ${torch_lib_dir}/../../nvidia/nccl/include)
  find_file(NCCL_LIBRARY NAMES libnccl.so.2 libnccl.so HINTS ${torch_lib_dir}/../../nvidia/nccl/lib)
  if(NCCL_INCLUDE_DIR AND NCCL_LIBRARY)
    add_library(concord_nccl INTERFACE)
    target_include_directories(concord_nccl SYSTEM INTERFACE ${NCCL_INCLUDE_DIR})
    target_compile_definitions(concord_nccl INTERFACE CONCORD_NCCL=1)
    target_link_libraries(concord_nccl INTERFACE ${NCCL_LIBRARY})
  endif()
endif()

# The wheel bundles headers of other libraries (fmt, pybind11, ...) in versions of its own; only Torch's are let through,
# so that fmt's headers stay those of the fmt library that spdlog links.
set(torch_headers ${CMAKE_BINARY_DIR}/torch_headers)
file(MAKE_DIRECTORY ${torch_headers})
foreach(part torch ATen c10 caffe2)
  file(CREATE_LINK ${TORCH_INCLUDE_DIR}/${part} ${torch_headers}/${part} SYMBOLIC)
endforeach()
add_library(concord_torch INTERFACE)
target_include_directories(concord_torch SYSTEM INTERFACE ${torch_headers} ${torch_headers}/torch/csrc/api/include)
target_link_libraries(concord_torch INTERFACE concord_torch_libraries)
# at::parallel_for is a template: without OpenMP in our own sources it runs on one thread and says nothing. The threads must
# be those of the OpenMP library that libtorch itself uses, its own copy in the wheel.
# Fuzz targets read configs and compute nothing; clang's OpenMP is another library than the wheel's.
if(NOT CONCORD_FUZZ)
  target_compile_options(concord_torch INTERFACE -fopenmp)
endif()
file(GLOB torch_openmp ${torch_lib_dir}/libgomp*.so*)
if(torch_openmp)
  list(GET torch_openmp 0 torch_openmp)
  target_link_libraries(concord_torch INTERFACE ${torch_openmp})
else()
  find_package(OpenMP REQUIRED COMPONENTS CXX)
  target_link_libraries(concord_torch INTERFACE OpenMP::OpenMP_CXX)
endif()
if(CONCORD_CUDA)
  target_link_libraries(concord_torch INTERFACE CUDA::cudart)
endif()
