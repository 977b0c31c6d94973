# Writes the version and the git state (with * when the tree is dirty) to OUTPUT, touching it only on change.
execute_process(COMMAND git -C ${SOURCE_DIR} describe --always --dirty=* --abbrev=12
  OUTPUT_VARIABLE git_state OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
if(NOT git_state)
  set(git_state unknown)
endif()
file(WRITE ${OUTPUT}.new "#pragma once\n#define CONCORD_VERSION \"${VERSION}\"\n#define CONCORD_GIT \"${git_state}\"\n")
file(COPY_FILE ${OUTPUT}.new ${OUTPUT} ONLY_IF_DIFFERENT)
