# concord_add_test(NAME SOURCES ... LINKS ... RANKS 1 2 3 4): one GoogleTest program, registered as NAME.np1, ...
# with labels NAME and RANK_n and a work folder of its own.
# Unbound: two tests at once would both be bound to the first core. Ranks that wait yield (OMPI_MCA_mpi_yield_when_idle): beside other work, ranks
# that spin take the cores from those that they wait for. MPICH's launcher binds no rank, counts no slots and lets root run.
set(CONCORD_MPI_FLAGS "")
execute_process(COMMAND id -u OUTPUT_VARIABLE concord_uid OUTPUT_STRIP_TRAILING_WHITESPACE)
if(CONCORD_OPEN_MPI)
  set(CONCORD_MPI_FLAGS --oversubscribe --bind-to none)
  if(concord_uid EQUAL 0)
    list(APPEND CONCORD_MPI_FLAGS --allow-run-as-root)
  endif()
endif()
set(CONCORD_TEST_PYTHON ${CMAKE_SOURCE_DIR}/.venv/bin/python CACHE FILEPATH "Python with numpy, scipy and h5py for the tests")

add_library(concord_test_main STATIC ${CMAKE_SOURCE_DIR}/tests/support/mpi_main.cpp)
target_link_libraries(concord_test_main PUBLIC GTest::gtest concord_comm PRIVATE concord_warnings)

function(concord_register name)
  cmake_parse_arguments(arg "" "WORK;RANKS" "COMMAND;LABELS" ${ARGN})
  set(work ${CMAKE_BINARY_DIR}/tests/work/${name}.np${arg_RANKS})
  set(most_seconds 900)
  if(CONCORD_SANITIZE)
    set(most_seconds 3600)
  endif()
  file(MAKE_DIRECTORY ${work})
  add_test(NAME ${name}.np${arg_RANKS} COMMAND ${arg_COMMAND} WORKING_DIRECTORY ${work})
  set_tests_properties(${name}.np${arg_RANKS} PROPERTIES
    LABELS "${name};RANK_${arg_RANKS};${arg_LABELS}" TIMEOUT ${most_seconds} PROCESSORS ${arg_RANKS}
    ENVIRONMENT "OMP_NUM_THREADS=1;OMPI_MCA_mpi_yield_when_idle=1;CONCORD=${CMAKE_BINARY_DIR}/concord;CONCORD_SOURCE=${CMAKE_SOURCE_DIR};RANKS=${arg_RANKS};MPIRUN=${MPIEXEC_EXECUTABLE} ${concord_flags_text}")
endfunction()
list(JOIN CONCORD_MPI_FLAGS " " concord_flags_text)

function(concord_add_test name)
  cmake_parse_arguments(arg "" "" "SOURCES;LINKS;RANKS" ${ARGN})
  add_executable(${name}_test ${arg_SOURCES})
  target_link_libraries(${name}_test PRIVATE ${arg_LINKS} concord_test_main concord_warnings)
  target_include_directories(${name}_test PRIVATE ${CMAKE_SOURCE_DIR}/tests ${CMAKE_SOURCE_DIR}/src)
  foreach(ranks ${arg_RANKS})
    concord_register(${name} RANKS ${ranks}
      COMMAND ${MPIEXEC_EXECUTABLE} ${CONCORD_MPI_FLAGS} -np ${ranks} $<TARGET_FILE:${name}_test>)
  endforeach()
endfunction()

# tests/cli/test_NAME.py, which starts the program itself at $RANKS ranks. ALONE: no other test runs
# beside it. Others of two ranks count as one processor: they wait for Python, for files and for the start of ranks, and no time that a run
# takes decides a test.
function(concord_add_cli_test name)
  cmake_parse_arguments(arg "ALONE" "" "RANKS;LABELS" ${ARGN})
  foreach(ranks ${arg_RANKS})
    concord_register(${name} RANKS ${ranks} LABELS cli ${arg_LABELS}
      COMMAND ${CONCORD_TEST_PYTHON} ${CMAKE_SOURCE_DIR}/tests/cli/test_${name}.py)
    set_tests_properties(${name}.np${ranks} PROPERTIES SKIP_RETURN_CODE 77)
    if(ranks EQUAL 2 AND NOT arg_ALONE)
      set_tests_properties(${name}.np${ranks} PROPERTIES PROCESSORS 1)
    endif()
  endforeach()
endfunction()

# Every public header must compile by itself; those of torch modules are checked by the sources that include them first.
function(concord_add_header_test)
  file(GLOB_RECURSE headers RELATIVE ${CMAKE_SOURCE_DIR}/include ${CMAKE_SOURCE_DIR}/include/concord/*.hpp)
  set(sources "")
  foreach(header ${headers})
    if(header MATCHES "model/(family|ops|transformer)")
      continue()
    endif()
    string(REPLACE "/" "_" flat ${header})
    set(source ${CMAKE_BINARY_DIR}/tests/headers/${flat}.cpp)
    file(WRITE ${source}.new "#include \"${header}\"\n")
    file(COPY_FILE ${source}.new ${source} ONLY_IF_DIFFERENT)
    list(APPEND sources ${source})
  endforeach()
  add_library(concord_header_test OBJECT ${sources})
  target_link_libraries(concord_header_test PRIVATE concord_app concord_warnings)
  target_compile_options(concord_header_test PRIVATE -O0)
endfunction()
