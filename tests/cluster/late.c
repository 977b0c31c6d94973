/* A library to preload that shows files of others late, as a file system does whose clients keep what they know of names for a while: the name of a
 * file or folder that another process has made, or moved there, is not found for CONCORD_LATE_SECONDS behind it. Only below
 * CONCORD_LATE_UNDER. What a process makes itself, or has seen once, it sees. CONCORD_LATE_LOG gets each name that was not found, once.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define REAL(name) ({ static __typeof__(&name) real_; if (real_ == NULL) real_ = (__typeof__(&name))dlsym(RTLD_NEXT, #name); real_; })

enum { most_names = 1 << 16 };
static char* seen[most_names]; /* by hash; what does not fit is shown at once */
static char* told[most_names];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* Whether the name is in the table, behind this call it is. */
static int entered(char** table, const char* name, int enter) {
  size_t at = 5381;
  for (const char* c = name; *c != '\0'; ++c) at = at * 33 + (unsigned char)*c;
  int found = 0;
  pthread_mutex_lock(&lock);
  for (int i = 0; i < most_names; ++i, ++at) {
    char** slot = &table[at % most_names];
    if (*slot == NULL) {
      if (enter) *slot = strdup(name);
      break;
    }
    if (strcmp(*slot, name) == 0) {
      found = 1;
      break;
    }
  }
  pthread_mutex_unlock(&lock);
  return found;
}

/* The whole path below the folder that counts; NULL elsewhere. */
static const char* watched(const char* path, char* whole) {
  const char* under = getenv("CONCORD_LATE_UNDER");
  if (under == NULL || path == NULL) return NULL;
  if (path[0] == '/') snprintf(whole, PATH_MAX, "%s", path);
  else if (getcwd(whole, PATH_MAX) != NULL) snprintf(whole + strlen(whole), PATH_MAX - strlen(whole), "/%s", path);
  else return NULL;
  for (size_t n = strlen(whole); n > 1 && whole[n - 1] == '/'; --n) whole[n - 1] = '\0';
  return strncmp(whole, under, strlen(under)) == 0 ? whole : NULL;
}

static void tell(const char* name) {
  const char* log = getenv("CONCORD_LATE_LOG");
  if (log == NULL || entered(told, name, 1)) return;
  char line[PATH_MAX + 1];
  const int size = snprintf(line, sizeof line, "%s\n", name);
  const int fd = REAL(open)(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  if (fd < 0) return;
  (void)!write(fd, line, (size_t)size);
  close(fd);
}

static int hidden(const char* path) {
  char whole[PATH_MAX];
  const int before = errno;
  const char* name = watched(path, whole);
  if (name == NULL || entered(seen, name, 0)) return 0;
  struct statx facts;
  if (syscall(SYS_statx, AT_FDCWD, name, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS | STATX_BTIME, &facts) != 0) {
    errno = before;
    return 0;
  }
  /* A folder changes with each file in it. */
  const struct statx_timestamp since = S_ISDIR(facts.stx_mode) ? facts.stx_btime : facts.stx_ctime;
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  const double age = (double)(now.tv_sec - since.tv_sec) + 1e-9 * ((double)now.tv_nsec - since.tv_nsec);
  if (age < atof(getenv("CONCORD_LATE_SECONDS"))) {
    tell(name);
    errno = ENOENT;
    return 1;
  }
  entered(seen, name, 1);
  return 0;
}

static void made(const char* path) {
  char whole[PATH_MAX];
  const char* name = watched(path, whole);
  if (name != NULL) entered(seen, name, 1);
}

#define OPEN(name)                                                     \
  int name(const char* path, int flags, ...) {                         \
    mode_t mode = 0;                                                   \
    if (flags & (O_CREAT | O_TMPFILE)) {                               \
      va_list more;                                                    \
      va_start(more, flags);                                           \
      mode = va_arg(more, mode_t);                                     \
      va_end(more);                                                    \
    }                                                                  \
    if (flags & O_CREAT) made(path);                                   \
    return hidden(path) ? -1 : REAL(name)(path, flags, mode);          \
  }
OPEN(open)
OPEN(open64)

#define FOPEN(name)                                                    \
  FILE* name(const char* path, const char* mode) {                     \
    if (mode[0] != 'r') made(path);                                    \
    return hidden(path) ? NULL : REAL(name)(path, mode);               \
  }
FOPEN(fopen)
FOPEN(fopen64)

int stat(const char* path, struct stat* s) { return hidden(path) ? -1 : REAL(stat)(path, s); }
int stat64(const char* path, struct stat64* s) { return hidden(path) ? -1 : REAL(stat64)(path, s); }
int lstat(const char* path, struct stat* s) { return hidden(path) ? -1 : REAL(lstat)(path, s); }
int lstat64(const char* path, struct stat64* s) { return hidden(path) ? -1 : REAL(lstat64)(path, s); }
int access(const char* path, int mode) { return hidden(path) ? -1 : REAL(access)(path, mode); }
/* what libraries built for older systems call */
int __xstat(int version, const char* path, struct stat* s) {
  static int (*real)(int, const char*, struct stat*);
  if (real == NULL) real = (int (*)(int, const char*, struct stat*))dlsym(RTLD_NEXT, "__xstat");
  return hidden(path) ? -1 : real(version, path, s);
}
int __xstat64(int version, const char* path, struct stat64* s) {
  static int (*real)(int, const char*, struct stat64*);
  if (real == NULL) real = (int (*)(int, const char*, struct stat64*))dlsym(RTLD_NEXT, "__xstat64");
  return hidden(path) ? -1 : real(version, path, s);
}

int mkdir(const char* path, mode_t mode) {
  const int result = REAL(mkdir)(path, mode);
  if (result == 0) made(path);
  return result;
}
int rename(const char* from, const char* to) {
  made(to);
  return REAL(rename)(from, to);
}
int link(const char* from, const char* to) {
  made(to);
  return REAL(link)(from, to);
}
