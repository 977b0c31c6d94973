# concord_module(NAME LINKS ... [TORCH] [HOT]): one static library a module, from every source below src/NAME. Its LINKS are its
# place in the dependency graph, which src/CMakeLists.txt lists. TORCH: the module may include libtorch (ATen alone: the whole of torch/
# costs three times the compile time and a precompiled header of it has 700 MB). HOT: inner loops, compiled with -O3.
function(concord_module name)
  cmake_parse_arguments(arg "TORCH;HOT" "" "LINKS" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/${name}/*.cpp)
  add_library(concord_${name} STATIC ${sources})
  target_include_directories(concord_${name} PUBLIC ${CMAKE_SOURCE_DIR}/include)
  target_include_directories(concord_${name} PRIVATE ${CMAKE_SOURCE_DIR}/src)
  target_link_libraries(concord_${name} PUBLIC ${arg_LINKS} PRIVATE concord_warnings)
  if(arg_TORCH)
    target_link_libraries(concord_${name} PUBLIC concord_torch)
  endif()
  if(arg_HOT)
    target_compile_options(concord_${name} PRIVATE $<$<CONFIG:Release>:-O3>)
  endif()
  concord_use_pch(concord_${name})
endfunction()

# The standard library, fmt and JSON headers that nearly every source includes, precompiled once.
function(concord_use_pch target)
  target_precompile_headers(${target} PRIVATE <algorithm> <cmath> <filesystem> <fmt/format.h> <functional> <map> <memory>
                            <nlohmann/json.hpp> <span> <string> <vector>)
endfunction()
