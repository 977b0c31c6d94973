# Which MPI was found, and whether the libraries above it are built for the same one.

# CONCORD_OPEN_MPI: Open MPI, by the macro of its mpi.h. Else MPICH or one of its descendants, whose launcher knows none of Open MPI's words.
if(MPI_C_FOUND)
  include(CheckSymbolExists) # in C: Open MPI's mpi.h asks a C++ program for a library
  set(CMAKE_REQUIRED_INCLUDES ${MPI_C_INCLUDE_DIRS})
  check_symbol_exists(OPEN_MPI mpi.h CONCORD_OPEN_MPI)
  unset(CMAKE_REQUIRED_INCLUDES)
endif()

# Where a system has ScaLAPACK for several, that of this MPI comes first.
if(CONCORD_OPEN_MPI)
  set(CONCORD_SCALAPACK_NAMES scalapack-openmpi scalapack scalapack-mpich)
else()
  set(CONCORD_SCALAPACK_NAMES scalapack-mpich scalapack scalapack-openmpi)
endif()

# Names under which the MPI found is known to other libraries.
set(CONCORD_MPI_NAMES "")
foreach(library ${MPI_C_LIBRARIES} ${MPI_CXX_LIBRARIES})
  file(REAL_PATH ${library} real)
  get_filename_component(folder ${real} DIRECTORY)
  file(GLOB beside ${folder}/libmpi*.so*)
  foreach(other ${beside})
    file(REAL_PATH ${other} same)
    if(same STREQUAL real)
      get_filename_component(name ${other} NAME)
      list(APPEND CONCORD_MPI_NAMES ${name})
    endif()
  endforeach()
endforeach()

# concord_same_mpi(NAME LIBRARY ...): warns where a shared library asks for another MPI than the one found. Both define the same names: such a
# program links, and ends or hangs when it starts.
function(concord_same_mpi name)
  foreach(library ${ARGN})
    if(NOT CONCORD_MPI_NAMES OR NOT IS_ABSOLUTE "${library}" OR NOT library MATCHES "[.]so" OR NOT EXISTS ${library})
      continue() # a compiler that brings MPI by itself names no library of it
    endif()
    file(STRINGS ${library} wanted REGEX "^libmpi(ch)?[.]so[.][0-9]+$")
    foreach(one ${wanted})
      if(NOT one IN_LIST CONCORD_MPI_NAMES)
        message(WARNING "${name} (${library}) is built for another MPI: it wants ${one}, but the MPI found is ${MPI_C_LIBRARIES}")
      endif()
    endforeach()
  endforeach()
endfunction()
