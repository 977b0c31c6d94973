/* A library to preload that makes the n-th call of one kind fail, as a full disk, a broken one or short memory would.
 *
 *   CONCORD_FAULT        call:n:fault. call: open, read, write, fsync, rename, mmap or malloc. n: 1, 2, ...; "5+": the fifth and all
 *                        behind it. fault: ENOSPC, EIO, EDQUOT, ENOMEM, EACCES, short (half of a read or write), delay (5 s, then as usual)
 *   CONCORD_FAULT_UNDER  only files below this folder count. mmap and malloc count from the first opening of such a file on, so
 *                        that MPI has started; of malloc and operator new, sizes of 4 KiB and more that the program itself or
 *                        libtorch's allocator ask for. Libraries do not survive a refusal: HDF5 1.10.8 damages the
 *                        heap behind one in H5Dread, oneDNN reads what it has not got.
 *   CONCORD_FAULT_RANK   the rank that meets the fault; unset: all
 *   CONCORD_FAULT_LOG    gets a line when the fault has happened
 *   CONCORD_FAULT_COUNT  gets a line of each rank and kind at the end: rank, call, how many there were
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { call_open, call_read, call_write, call_fsync, call_rename, call_mmap, call_malloc, calls, call_none = -1 };
enum { fault_short = -1, fault_delay = -2, no_fault = 0 }; /* positive: errno */
enum { most_files = 1 << 16, smallest_malloc = 4096 };

static const char* const call_words[calls] = {"open", "read", "write", "fsync", "rename", "mmap", "malloc"};
static int wanted_call = call_none, fault, onwards, active;
static long wanted_count;
static char under[PATH_MAX];
static atomic_int armed;
static atomic_long counts[calls];
static _Atomic char watched[most_files]; /* file descriptors below `under` */

static int errno_of(const char* word) {
  static const struct { const char* word; int value; } words[] = {{"ENOSPC", ENOSPC}, {"EIO", EIO}, {"EDQUOT", EDQUOT}, {"ENOMEM", ENOMEM},
                                                                  {"EACCES", EACCES}, {"short", fault_short}, {"delay", fault_delay}};
  for (size_t i = 0; i < sizeof words / sizeof *words; ++i)
    if (strcmp(words[i].word, word) == 0) return words[i].value;
  fprintf(stderr, "fault: no fault %s\n", word);
  _exit(2);
}

__attribute__((constructor)) static void read_wish(void) {
  const char* wish = getenv("CONCORD_FAULT");
  const char* only = getenv("CONCORD_FAULT_RANK");
  const char* rank = getenv("OMPI_COMM_WORLD_RANK");
  if (rank == NULL || (only != NULL && strcmp(only, rank) != 0)) return;
  const char* folder = getenv("CONCORD_FAULT_UNDER");
  snprintf(under, sizeof under, "%s", folder != NULL ? folder : "/");
  active = wish != NULL || getenv("CONCORD_FAULT_COUNT") != NULL;
  if (wish == NULL) return;
  char call[16], number[32], what[16];
  if (sscanf(wish, "%15[^:]:%31[^:]:%15s", call, number, what) != 3) _exit(2);
  fault = errno_of(what);
  wanted_count = strtol(number, NULL, 10);
  onwards = strchr(number, '+') != NULL;
  for (int c = 0; c < calls; ++c)
    if (strcmp(call_words[c], call) == 0) wanted_call = c;
}

/* Real calls of the C library, found once. */
#define REAL(name) ({ static __typeof__(&name) real_; if (real_ == NULL) real_ = (__typeof__(&name))dlsym(RTLD_NEXT, #name); real_; })

static void append(const char* path, const char* line) {
  const int fd = path != NULL ? REAL(open)(path, O_WRONLY | O_CREAT | O_APPEND, 0600) : -1;
  if (fd < 0) return;
  if (REAL(write)(fd, line, strlen(line)) < 0) syscall(SYS_exit_group, 2);
  REAL(close)(fd);
}

static void tell(const char* what) {
  char line[PATH_MAX + 64];
  snprintf(line, sizeof line, "%s %ld %s\n", call_words[wanted_call], wanted_count, what);
  append(getenv("CONCORD_FAULT_LOG"), line);
}

static void tell_counts(void) {
  const char* log = getenv("CONCORD_FAULT_COUNT");
  if (!active || log == NULL) return;
  for (int c = 0; c < calls; ++c) {
    char line[64];
    snprintf(line, sizeof line, "%s %s %ld\n", getenv("OMPI_COMM_WORLD_RANK"), call_words[c], atomic_load(&counts[c]));
    append(log, line);
  }
}

/* The program ends so, without destructors. */
void _exit(int code) {
  tell_counts();
  syscall(SYS_exit_group, code);
  __builtin_unreachable();
}

/* The fault of this call: no_fault for all but the n-th. */
static int meets(int call, const char* what) {
  const long now = atomic_fetch_add(&counts[call], 1) + 1;
  if (call != wanted_call) return no_fault;
  if (now != wanted_count && !(onwards && now > wanted_count)) return no_fault;
  if (now == wanted_count) tell(what);
  if (fault == fault_delay) usleep(5000000);
  return fault == fault_delay ? no_fault : fault;
}

static int below(const char* path) {
  if (!active) return 0;
  char whole[PATH_MAX * 2];
  if (path[0] == '/') snprintf(whole, sizeof whole, "%s", path);
  else if (getcwd(whole, PATH_MAX) != NULL) snprintf(whole + strlen(whole), PATH_MAX, "/%s", path);
  return strncmp(whole, under, strlen(under)) == 0;
}

static int refuse(int error) { errno = error; return -1; }

static int opened(int fd, int ours) {
  if (fd >= 0 && fd < most_files) watched[fd] = (char)ours;
  return fd;
}

/* -1 with errno set: the call is to fail. Otherwise whether the file is ours. */
static int before_open(const char* path) {
  const int ours = below(path);
  if (!ours) return 0;
  atomic_store(&armed, 1);
  const int error = meets(call_open, path);
  return error > 0 ? refuse(error) : 1;
}

#define OPEN(name, first, rest)                                                           \
  int name first {                                                                        \
    mode_t mode = 0;                                                                      \
    if (flags & (O_CREAT | O_TMPFILE)) {                                                  \
      va_list more;                                                                       \
      va_start(more, flags);                                                              \
      mode = va_arg(more, mode_t);                                                        \
      va_end(more);                                                                       \
    }                                                                                     \
    const int ours = before_open(path);                                                   \
    return ours < 0 ? -1 : opened(REAL(name) rest, ours);                                 \
  }
OPEN(open, (const char* path, int flags, ...), (path, flags, mode))
OPEN(open64, (const char* path, int flags, ...), (path, flags, mode))
OPEN(openat, (int at, const char* path, int flags, ...), (at, path, flags, mode))
OPEN(openat64, (int at, const char* path, int flags, ...), (at, path, flags, mode))

#define FOPEN(name)                                              \
  FILE* name(const char* path, const char* mode) {               \
    const int ours = before_open(path);                          \
    FILE* file = ours < 0 ? NULL : REAL(name)(path, mode);       \
    if (file != NULL) opened(fileno(file), ours);                \
    return file;                                                 \
  }
FOPEN(fopen)
FOPEN(fopen64)

/* Its number may next be a socket's. */
int close(int fd) {
  if (fd >= 0 && fd < most_files) watched[fd] = 0;
  return REAL(close)(fd);
}

int fclose(FILE* file) {
  const int fd = fileno(file);
  if (fd >= 0 && fd < most_files) watched[fd] = 0;
  return REAL(fclose)(file);
}

static int ours(int fd) { return fd >= 0 && fd < most_files && watched[fd]; }

/* What is to become of a read or write of `size` bytes: an errno, or the bytes to move. */
static int before_moving(int call, int fd, size_t* size) {
  if (!ours(fd)) return no_fault;
  const int error = meets(call, "");
  if (error == fault_short && *size > 1) *size /= 2;
  return error > 0 ? error : no_fault;
}

#define MOVE(call, name, ...)                                              \
  {                                                                        \
    const int error = before_moving(call, fd, &size);                      \
    return error > 0 ? refuse(error) : REAL(name)(fd, bytes, __VA_ARGS__); \
  }
ssize_t write(int fd, const void* bytes, size_t size) MOVE(call_write, write, size)
ssize_t pwrite(int fd, const void* bytes, size_t size, off_t offset) MOVE(call_write, pwrite, size, offset)
ssize_t pwrite64(int fd, const void* bytes, size_t size, off64_t offset) MOVE(call_write, pwrite64, size, offset)

ssize_t read(int fd, void* bytes, size_t size) MOVE(call_read, read, size)
ssize_t pread(int fd, void* bytes, size_t size, off_t offset) MOVE(call_read, pread, size, offset)
ssize_t pread64(int fd, void* bytes, size_t size, off64_t offset) MOVE(call_read, pread64, size, offset)

/* Vectors: short ones take the first half of the vectors. */
#define MOVEV(call, name, ...)                                                         \
  {                                                                                    \
    size_t size = (size_t)vectors;                                                     \
    const int error = before_moving(call, fd, &size);                                  \
    vectors = (int)size;                                                               \
    return error > 0 ? refuse(error) : REAL(name)(fd, vector, vectors, ##__VA_ARGS__); \
  }
ssize_t writev(int fd, const struct iovec* vector, int vectors) MOVEV(call_write, writev)
ssize_t pwritev(int fd, const struct iovec* vector, int vectors, off_t offset) MOVEV(call_write, pwritev, offset)
ssize_t pwritev64(int fd, const struct iovec* vector, int vectors, off64_t offset) MOVEV(call_write, pwritev64, offset)
ssize_t readv(int fd, const struct iovec* vector, int vectors) MOVEV(call_read, readv)
ssize_t preadv(int fd, const struct iovec* vector, int vectors, off_t offset) MOVEV(call_read, preadv, offset)
ssize_t preadv64(int fd, const struct iovec* vector, int vectors, off64_t offset) MOVEV(call_read, preadv64, offset)

#define SYNC(name)                                                        \
  int name(int fd) {                                                      \
    const int error = ours(fd) ? meets(call_fsync, #name) : no_fault;     \
    return error > 0 ? refuse(error) : REAL(name)(fd);                    \
  }
SYNC(fsync)
SYNC(fdatasync)

int rename(const char* from, const char* to) {
  const int error = below(to) ? meets(call_rename, to) : no_fault;
  return error > 0 ? refuse(error) : REAL(rename)(from, to);
}

#define MMAP(name, off)                                                                            \
  void* name(void* at, size_t size, int protection, int flags, int fd, off offset) {               \
    const int error = atomic_load(&armed) && size >= smallest_malloc ? meets(call_mmap, "") : 0;   \
    if (error > 0) {                                                                               \
      errno = error;                                                                               \
      return MAP_FAILED;                                                                           \
    }                                                                                              \
    return REAL(name)(at, size, protection, flags, fd, offset);                                    \
  }
MMAP(mmap, off_t)
MMAP(mmap64, off64_t)

/* The C library's own names: dlsym itself allocates. */
void* __libc_malloc(size_t);
void* __libc_calloc(size_t, size_t);
void* __libc_realloc(void*, size_t);
void* __libc_memalign(size_t, size_t);

/* Whether the caller is one that must survive a refusal. */
static int bears_refusal(const void* caller) {
  Dl_info info;
  if (dladdr(caller, &info) == 0 || info.dli_fname == NULL) return 0;
  const char* name = strrchr(info.dli_fname, '/');
  name = name != NULL ? name + 1 : info.dli_fname;
  return strncmp(name, "concord", 7) == 0 || strncmp(name, "libc10", 6) == 0;
}
static int refused(size_t size, const void* caller) {
  return atomic_load(&armed) && size >= smallest_malloc && bears_refusal(caller) && meets(call_malloc, "") > 0;
}
#define no_memory(size) refused(size, __builtin_return_address(0))
static void* out_of_memory(void) { errno = ENOMEM; return NULL; }

/* operator new, which throws. */
void* _Znwm(size_t size) {
  static void (*throw_bad_alloc)(void);
  void* memory = no_memory(size) ? NULL : __libc_malloc(size);
  if (memory != NULL) return memory;
  if (throw_bad_alloc == NULL) throw_bad_alloc = (void (*)(void))dlsym(RTLD_DEFAULT, "_ZSt17__throw_bad_allocv");
  throw_bad_alloc();
  return NULL;
}
void* malloc(size_t size) { return no_memory(size) ? out_of_memory() : __libc_malloc(size); }
void* calloc(size_t number, size_t size) { return no_memory(number * size) ? out_of_memory() : __libc_calloc(number, size); }
void* realloc(void* old, size_t size) { return no_memory(size) ? out_of_memory() : __libc_realloc(old, size); }
void* memalign(size_t align, size_t size) { return no_memory(size) ? out_of_memory() : __libc_memalign(align, size); }
void* aligned_alloc(size_t align, size_t size) { return no_memory(size) ? out_of_memory() : __libc_memalign(align, size); }
int posix_memalign(void** out, size_t align, size_t size) {
  if (no_memory(size)) return ENOMEM;
  *out = __libc_memalign(align, size);
  return *out != NULL ? 0 : ENOMEM;
}
