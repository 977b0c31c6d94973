/* A library to preload that runs a program many times and loads it once: main() of each run is called in a child of the process that has
 * done all that comes before main, and the child ends without what comes behind it. Loading and unloading libtorch takes most of a short run. Runs are asked for on standard input, one a line:
 *
 *   SECONDS<tab>FOLDER<tab>OUTPUT<tab>ARGUMENT<tab>ARGUMENT...
 *
 * and answered on standard output by a line: the exit code, 256 + signal, or -1 where it took longer. Standard output and error of a run
 * are in its file OUTPUT.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

typedef int (*main_type)(int, char**, char**);
static main_type real_main;
static sigset_t ended; /* SIGCHLD, blocked */
enum { most_words = 64, longest = 1 << 16 };

static void run(char** words, char* program, char** environment) {
  sigprocmask(SIG_UNBLOCK, &ended, NULL);
  const int out = open(words[2], O_WRONLY | O_CREAT | O_TRUNC, 0600);
  const int nothing = open("/dev/null", O_RDONLY);
  if (out < 0 || nothing < 0 || chdir(words[1]) != 0) _exit(2);
  dup2(nothing, 0);
  dup2(out, 1);
  dup2(out, 2);
  close(out);
  close(nothing);
  unsetenv("LD_PRELOAD"); /* not for what the program starts */
  words[2] = program;
  int count = 0;
  while (words[2 + count] != NULL) ++count;
  const int code = real_main(count, words + 2, environment);
  fflush(NULL);
  _exit(code); /* libtorch takes longer to end than most runs last */
}

/* The exit code, 256 + signal, -1 behind `seconds`. */
static int finish(pid_t child, double seconds) {
  const struct timespec limit = {(time_t)seconds, 0};
  int status = 0;
  while (waitpid(child, &status, WNOHANG) == 0) {
    if (sigtimedwait(&ended, NULL, &limit) >= 0 || errno == EINTR) continue;
    kill(child, SIGKILL);
    waitpid(child, &status, 0);
    return -1;
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 256 + WTERMSIG(status);
}

static int serve(int argc, char** argv, char** environment) {
  (void)argc;
  sigemptyset(&ended);
  sigaddset(&ended, SIGCHLD);
  sigprocmask(SIG_BLOCK, &ended, NULL);
  static char line[longest];
  while (fgets(line, sizeof line, stdin) != NULL) {
    line[strcspn(line, "\n")] = '\0';
    char* words[most_words + 1] = {NULL};
    char* rest = line;
    for (int n = 0; n < most_words && rest != NULL; ++n) words[n] = strsep(&rest, "\t");
    fflush(stdout);
    const pid_t child = fork();
    if (child == 0) run(words, argv[0], environment);
    printf("%d\n", finish(child, atof(words[0])));
    fflush(stdout);
  }
  return 0;
}

int __libc_start_main(main_type program, int argc, char** argv, void (*init)(void), void (*fini)(void), void (*end)(void), void* stack) {
  int (*real)(main_type, int, char**, void (*)(void), void (*)(void), void (*)(void), void*) =
      (int (*)(main_type, int, char**, void (*)(void), void (*)(void), void (*)(void), void*))dlsym(RTLD_NEXT, "__libc_start_main");
  real_main = program;
  return real(serve, argc, argv, init, fini, end, stack);
}
