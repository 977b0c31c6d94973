/* Runs the program many times at several ranks and loads it once: loading libtorch takes longer than most runs. One source, two uses:
 *
 *   cc -shared -fPIC -DSERVER -o server.so ranks.c   is preloaded to the program and serves runs at the socket $CONCORD_LOADED. Each is a fork of
 *                                                    the process that has done all that comes before main.
 *   cc -o rank ranks.c                               stands for the program below mpirun. It hands its folder, words, environment and streams to
 *                                                    the server, passes on the signals that it gets, and ends as the run did. Where it is
 *                                                    killed, so is the run.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

extern char** environ;
enum { longest = 1 << 18, most_words = 4096, most_runs = 64, passed = 4 };
struct head {
  int words, variables, bytes;
};

static struct sockaddr_un address(void) {
  struct sockaddr_un a = {.sun_family = AF_UNIX};
  const char* path = getenv("CONCORD_LOADED");
  if (path == NULL || strlen(path) >= sizeof a.sun_path) _exit(2);
  strcpy(a.sun_path, path);
  return a;
}

static void read_all(int fd, void* to, size_t bytes) {
  for (char* at = to; bytes > 0;) {
    const ssize_t n = read(fd, at, bytes);
    if (n <= 0 && errno != EINTR) _exit(2);
    if (n > 0) at += n, bytes -= (size_t)n;
  }
}

/* A head with the three standard streams and the one by which MPICH's launcher speaks with its rank ($PMI_FD), or stderr once more. */
static ssize_t pass_streams(int fd, struct head* head, int* streams, int sends) {
  union {
    char room[CMSG_SPACE(passed * sizeof(int))];
    struct cmsghdr align;
  } control = {{0}};
  struct iovec part = {head, sizeof *head};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control.room, .msg_controllen = sizeof control.room};
  if (!sends) {
    const ssize_t got = recvmsg(fd, &message, MSG_WAITALL);
    const struct cmsghdr* c = CMSG_FIRSTHDR(&message);
    if (got != (ssize_t)sizeof *head || c == NULL) return -1;
    memcpy(streams, CMSG_DATA(c), passed * sizeof(int));
    return got;
  }
  struct cmsghdr* c = CMSG_FIRSTHDR(&message);
  c->cmsg_level = SOL_SOCKET;
  c->cmsg_type = SCM_RIGHTS;
  c->cmsg_len = CMSG_LEN(passed * sizeof(int));
  memcpy(CMSG_DATA(c), streams, passed * sizeof(int));
  return sendmsg(fd, &message, 0);
}

#ifdef SERVER

typedef int (*main_type)(int, char**, char**);
static main_type real_main;
static struct {
  int fd;
  pid_t child;
} runs[most_runs];
static int count = 0;
static sigset_t ended, usual;

/* In the fork: takes over what the rank would be. */
static void run(int fd, char* program) {
  static char text[longest];
  static char* words[most_words + 1];
  static char* variables[most_words + 1];
  struct head head;
  int streams[passed];
  static char launcher[32];
  if (pass_streams(fd, &head, streams, 0) < 0 || head.bytes > longest || head.words > most_words || head.variables > most_words) _exit(2);
  read_all(fd, text, (size_t)head.bytes);
  close(fd);
  for (int i = 0; i < 3; ++i) dup2(streams[i], i);
  for (int i = 0; i < 3; ++i) close(streams[i]);
  snprintf(launcher, sizeof launcher, "PMI_FD=%d", streams[3]);
  char* at = text;
  if (chdir(at) != 0) _exit(2);
  at += strlen(at) + 1;
  for (int i = 0; i < head.words; ++i, at += strlen(at) + 1) words[i] = at;
  int launched = 0;
  for (int i = 0; i < head.variables; ++i, at += strlen(at) + 1) {
    const int tells = strncmp(at, "PMI_FD=", 7) == 0;
    variables[i] = tells ? launcher : at;
    launched |= tells;
  }
  if (!launched) close(streams[3]);
  words[0] = program;
  environ = variables;
  sigprocmask(SIG_SETMASK, &usual, NULL);
  const int code = real_main(head.words, words, environ);
  fflush(NULL);
  _exit(code);
}

static void wake(int number) { (void)number; } /* ppoll returns */

static void reap(void) {
  int status;
  for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;)
    for (int i = 0; i < count; ++i)
      if (runs[i].child == pid) {
        (void)!send(runs[i].fd, &status, sizeof status, MSG_NOSIGNAL);
        close(runs[i].fd);
        runs[i] = runs[--count];
        break;
      }
}

static int serve(int argc, char** argv, char** environment) {
  (void)argc, (void)environment;
  unsetenv("LD_PRELOAD");
  const struct sockaddr_un a = address();
  const int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sigemptyset(&ended);
  sigaddset(&ended, SIGCHLD);
  sigprocmask(SIG_BLOCK, &ended, &usual);
  signal(SIGCHLD, wake);
  if (bind(listener, (const struct sockaddr*)&a, sizeof a) != 0 || listen(listener, most_runs) != 0) _exit(2);
  while (1) {
    struct pollfd all[most_runs + 2] = {{0, POLLIN, 0}, {listener, POLLIN, 0}};
    for (int i = 0; i < count; ++i) all[i + 2] = (struct pollfd){runs[i].fd, POLLRDHUP, 0};
    const int polled = count;
    const int ready = ppoll(all, (nfds_t)polled + 2, NULL, &usual);
    if (ready > 0) {
      char nothing;
      if (all[0].revents && read(0, &nothing, 1) <= 0) break; /* its user is gone */
      for (int i = 0; i < polled; ++i)
        if (all[i + 2].revents & (POLLRDHUP | POLLHUP)) kill(runs[i].child, SIGKILL); /* so is its rank */
      if (all[1].revents && count < most_runs) {
        const int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        const pid_t child = fork();
        if (child == 0) {
          for (int i = 0; i < count; ++i) close(runs[i].fd);
          close(listener);
          signal(SIGCHLD, SIG_DFL);
          run(fd, argv[0]);
        }
        runs[count].fd = fd;
        runs[count++].child = child;
        (void)!send(fd, &child, sizeof child, MSG_NOSIGNAL);
      }
    }
    reap();
  }
  for (int i = 0; i < count; ++i) kill(runs[i].child, SIGKILL);
  _exit(0);
}

int __libc_start_main(main_type program, int argc, char** argv, void (*init)(void), void (*fini)(void), void (*end)(void), void* stack) {
  int (*real)(main_type, int, char**, void (*)(void), void (*)(void), void (*)(void), void*) =
      (int (*)(main_type, int, char**, void (*)(void), void (*)(void), void (*)(void), void*))dlsym(RTLD_NEXT, "__libc_start_main");
  real_main = program;
  return real(serve, argc, argv, init, fini, end, stack);
}

#else

static void write_all(int fd, const void* from, size_t bytes) {
  for (const char* at = from; bytes > 0;) {
    const ssize_t n = write(fd, at, bytes);
    if (n <= 0 && errno != EINTR) _exit(2);
    if (n > 0) at += n, bytes -= (size_t)n;
  }
}

static pid_t child;
static void pass_on(int number) { kill(child, number); }

int main(int argc, char** argv) {
  static char text[longest];
  struct head head = {argc, 0, 0};
  const struct sockaddr_un a = address();
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (connect(fd, (const struct sockaddr*)&a, sizeof a) != 0) return 2;
  if (getcwd(text, 4096) == NULL) return 2;
  size_t at = strlen(text) + 1;
  while (environ[head.variables] != NULL) ++head.variables;
  for (int i = 0; i < argc + head.variables; ++i) {
    const char* word = i < argc ? argv[i] : environ[i - argc];
    if (at + strlen(word) + 1 > longest) return 2;
    strcpy(text + at, word);
    at += strlen(word) + 1;
  }
  head.bytes = (int)at;
  const char* launcher = getenv("PMI_FD");
  int streams[passed] = {0, 1, 2, launcher != NULL ? atoi(launcher) : 2};
  read_all(fd, &child, sizeof child);
  const int numbers[] = {SIGTERM, SIGUSR1, SIGUSR2, SIGINT, SIGHUP};
  for (size_t i = 0; i < sizeof numbers / sizeof *numbers; ++i) {
    struct sigaction action = {.sa_handler = pass_on, .sa_flags = SA_RESTART};
    sigaction(numbers[i], &action, NULL);
  }
  if (pass_streams(fd, &head, streams, 1) < 0) return 2;
  write_all(fd, text, at);
  int status = 0;
  read_all(fd, &status, sizeof status);
  if (WIFSIGNALED(status)) {
    signal(WTERMSIG(status), SIG_DFL);
    kill(getpid(), WTERMSIG(status));
  }
  return WEXITSTATUS(status);
}

#endif
