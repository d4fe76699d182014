/* What `bedplate bench init` runs in its machines beside the init that is measured: the trivial service, the floor, and
 * the stages of inits that have none of their own. One static program; its first argument, or the name it is run by,
 * says which.
 *
 *   service N COUNT        counts itself, writes its process number to slot N and sleeps for ever. The one that makes
 *                          the count full says "up"; then the monitor measures.
 *   monitor SIGNAL COUNT   looks at memory, kills services, asks process 1 for the end.
 *   as process 1           the floor: a control group for each service, clone3 into it, exec, wait, restart, and nothing
 *                          else; or what s6-svscan needs before it.
 *   named 1, 2, 3, finish  the stages of runit, the end of s6.
 *
 * What is told goes to the kernel's log, whose clock stamps the kernel's own handoff too.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

/* linux/sched.h, which musl does not bring. */
#define CLONE_INTO_CGROUP 0x200000000ULL
struct clone_args {
    uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, cgroup;
};

#define MOST 1024
#define RESTARTS 9

/* Shared by all services: a file in memory that the first one makes. */
static const char *const place = "/run/bench";
struct board {
    int count;      /* services that have started, restarts included */
    int pids[MOST]; /* by number, from 1 on */
};

static void die(const char *what) {
    dprintf(2, "bench: %s: %s\n", what, strerror(errno));
    _exit(1);
}

static void say(int level, const char *format, ...) {
    char line[256];
    va_list arguments;
    va_start(arguments, format);
    int length = snprintf(line, sizeof line, "<%d>bench: ", level);
    length += vsnprintf(line + length, sizeof line - length, format, arguments);
    va_end(arguments);
    /* Without its end the kernel keeps a record back until the next one. */
    if (length > (int)sizeof line - 2) length = sizeof line - 2;
    line[length++] = '\n';
    int fd = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, line, length) < 0) die("/dev/kmsg");
    close(fd);
}

static struct board *board(void) {
    int fd = open(place, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || ftruncate(fd, sizeof(struct board)) < 0) die(place);
    void *at = mmap(NULL, sizeof(struct board), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (at == MAP_FAILED) die("mmap");
    close(fd);
    return at;
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

static void nap(double seconds) {
    struct timespec time = {(time_t)seconds, (long)((seconds - (time_t)seconds) * 1e9)};
    nanosleep(&time, NULL);
}

/* How many there are: said by a unit file, or handed down from the kernel's command line. */
static int wanted_of(const char *word) {
    if (!word) word = getenv("bench_count");
    return word ? atoi(word) : 0;
}

/* A service: its number is said by a unit file, or by its folder, which is how s6 and runit run it. */
static int service(const char *word, const char *count) {
    char folder[256] = "";
    if (!word) {
        if (!getcwd(folder, sizeof folder)) die("getcwd");
        word = folder + strcspn(folder, "0123456789");
    }
    int number = atoi(word);
    int wanted = wanted_of(count);
    struct board *all = board();
    if (number < 1 || number > wanted || wanted >= MOST) die("number");
    __atomic_store_n(&all->pids[number], getpid(), __ATOMIC_RELEASE);
    if (__atomic_add_fetch(&all->count, 1, __ATOMIC_ACQ_REL) == wanted) say(5, "up %d", wanted);
    for (;;) pause();
    return 0;
}

static void file(const char *path, const char *text) {
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) return;
    (void)!write(fd, text, strlen(text));
    close(fd);
}

static void mounts(void) {
    mkdir("/proc", 0755), mkdir("/sys", 0755), mkdir("/dev", 0755), mkdir("/run", 0755);
    mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
    mount("sysfs", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
    mount("devtmpfs", "/dev", "devtmpfs", MS_NOSUID, NULL);
    mount("tmpfs", "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755");
    mount("cgroup2", "/sys/fs/cgroup", "cgroup2", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
}

static int is_number(const char *text) {
    return *text && text[strspn(text, "0123456789")] == 0;
}

/* Proportional memory, in KiB, of all that is neither kernel, service nor ourselves; its processes are counted. */
static long memory(int *processes) {
    long sum = 0;
    *processes = 0;
    DIR *proc = opendir("/proc");
    if (!proc) die("/proc");
    for (struct dirent *entry; (entry = readdir(proc));) {
        char path[300], exe[300], line[300];
        if (!is_number(entry->d_name)) continue;
        snprintf(path, sizeof path, "/proc/%s/exe", entry->d_name);
        ssize_t length = readlink(path, exe, sizeof exe - 1);
        if (length < 0) continue;
        exe[length] = 0;
        if (!strcmp(exe, "/bench/node") && strcmp(entry->d_name, "1")) continue;
        snprintf(path, sizeof path, "/proc/%s/smaps_rollup", entry->d_name);
        FILE *rollup = fopen(path, "re");
        if (!rollup) continue;
        long pss = 0;
        while (fgets(line, sizeof line, rollup))
            if (sscanf(line, "Pss: %ld", &pss) == 1) break;
        fclose(rollup);
        sum += pss;
        ++*processes;
    }
    closedir(proc);
    return sum;
}

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* From SIGKILL until the next process of the service has started, the median of some, in milliseconds. */
static double restart(struct board *all, int wanted) {
    double spans[RESTARTS];
    for (int i = 0; i < RESTARTS; i++) {
        int number = 1 + i % wanted;
        int old = __atomic_load_n(&all->pids[number], __ATOMIC_ACQUIRE);
        double begin = now();
        if (kill(old, SIGKILL) < 0) die("kill");
        while (__atomic_load_n(&all->pids[number], __ATOMIC_ACQUIRE) == old) {
            if (now() - begin > 30) return -1;
            nap(0.0002);
        }
        spans[i] = 1000 * (now() - begin);
        /* runit and s6 make a service wait that has run for less than a second. */
        nap(1.2);
    }
    qsort(spans, RESTARTS, sizeof *spans, by_size);
    return spans[RESTARTS / 2];
}

/* Tells what the kernel's log has of the handoff and of us, on the console, which is quiet until then. */
static void report(void) {
    static char record[8192];
    int log = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    int console = open("/dev/ttyS0", O_WRONLY | O_NOCTTY | O_CLOEXEC);
    for (ssize_t length; (length = read(log, record, sizeof record - 1)) > 0 || errno == EPIPE;) {
        unsigned long long us;
        char *text;
        if (length <= 0) continue;
        record[length] = 0;
        if (sscanf(record, "%*d,%*d,%llu", &us) != 1 || !(text = strchr(record, ';'))) continue;
        text[1 + strcspn(text + 1, "\n")] = 0;
        /* The last of Bedplate's phases, after which it looks at units. */
        int phases = strstr(text, ": root verified, state") != NULL;
        if (phases || !strncmp(text, ";Run /init", 10) || !strncmp(text, ";bench: ", 8))
            dprintf(console, "\nbench-log %llu %s\n", us, text + 1);
    }
    dprintf(console, "\nbench-log end\n");
    tcdrain(console);
}

static int monitor(const char *end_signal, const char *count) {
    int processes, wanted = wanted_of(count);
    struct board *all = board();
    while (__atomic_load_n(&all->count, __ATOMIC_ACQUIRE) < wanted) nap(0.05);
    nap(3);
    long kib = memory(&processes);
    say(5, "memory %ld KiB in %d processes", kib, processes);
    say(5, "restart %.3f ms", restart(all, wanted));
    report();
    /* Loud enough for the console, where the kernel says too when it is off. */
    say(1, "power off");
    if (!strcmp(end_signal, "runit")) {
        /* runit(8): it looks at the modes of these files when it gets SIGCONT. */
        chmod("/etc/runit/stopit", 0100), chmod("/etc/runit/reboot", 0);
        kill(1, SIGCONT);
    } else {
        kill(1, atoi(end_signal));
    }
    for (;;) pause();
    return 0;
}

static void start_monitor(const char *end_signal) {
    pid_t pid = fork();
    if (pid) return;
    setsid();
    _exit(monitor(end_signal, NULL));
}

static void power_off(void) {
    sync();
    reboot(RB_POWER_OFF);
}

/* The floor. */
static char groups[MOST][40];
static char *services[MOST][5];

static pid_t begin(int number) {
    static char *none[] = {NULL};
    int group = open(groups[number], O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (group < 0) die(groups[number]);
    struct clone_args arguments = {
        .flags = CLONE_INTO_CGROUP, .exit_signal = SIGCHLD, .cgroup = group};
    pid_t pid = syscall(SYS_clone3, &arguments, sizeof arguments);
    if (!pid) {
        execve("/bench/node", services[number], none);
        _exit(127);
    }
    if (pid < 0) die("clone3");
    close(group);
    return pid;
}

static volatile sig_atomic_t ends;
static void end(int signal) { (void)signal, ends = 1; }

static int floor_of_all(char *count) {
    static pid_t pids[MOST];
    static char numbers[MOST][8];
    int wanted = wanted_of(count);
    mounts();
    file("/sys/fs/cgroup/cgroup.subtree_control", "+cpu +cpuset +io +memory +pids");
    mkdir("/sys/fs/cgroup/system.slice", 0755);
    file("/sys/fs/cgroup/system.slice/cgroup.subtree_control", "+cpu +cpuset +io +memory +pids");
    struct sigaction action = {.sa_handler = end};
    sigaction(SIGTERM, &action, NULL);
    for (int number = 1; number <= wanted; number++) {
        snprintf(groups[number], sizeof *groups, "/sys/fs/cgroup/system.slice/bench-%d", number);
        snprintf(numbers[number], sizeof *numbers, "%d", number);
        services[number][0] = "/bench/node", services[number][1] = "service";
        services[number][2] = numbers[number], services[number][3] = count;
        if (mkdir(groups[number], 0755) < 0) die(groups[number]);
        pids[number] = begin(number);
    }
    start_monitor("15");
    while (!ends) {
        pid_t ended = wait(NULL);
        for (int number = 1; number <= wanted && ended > 0; number++)
            if (pids[number] == ended) pids[number] = begin(number);
    }
    kill(-1, SIGKILL);
    while (wait(NULL) > 0) {}
    power_off();
    return 1;
}

/* runit(8) and s6-svscan(8): what Debian's own scripts would have a shell for. */
static int stage1(void) {
    mounts();
    return 0;
}

static int stage2(void) {
    static char line[4096];
    int fd = open("/proc/cmdline", O_RDONLY | O_CLOEXEC);
    if (fd < 0 || read(fd, line, sizeof line - 1) < 0) die("/proc/cmdline");
    /* runit hands nothing of its environment on. */
    char *count = strstr(line, "bench_count=");
    if (count) setenv("bench_count", strtok(count + strlen("bench_count="), " \n"), 1);
    start_monitor("runit");
    execl("/usr/bin/runsvdir", "runsvdir", "-P", "/service", (char *)NULL);
    die("runsvdir");
    return 1;
}

static int stage3(void) {
    return 0;
}

/* s6-svscan is process 1 itself and makes nothing ready. */
static int begin_s6(void) {
    mounts();
    start_monitor("15");
    execl("/usr/bin/s6-svscan", "s6-svscan", "-c", "1000", "/service", (char *)NULL);
    die("s6-svscan");
    return 1;
}

int main(int count, char **words) {
    const char *name = strrchr(words[0], '/');
    name = name ? name + 1 : words[0];
    const char *first = count > 1 ? words[1] : "";
    const char *second = count > 2 ? words[2] : NULL;
    const char *third = count > 3 ? words[3] : NULL;
    if (!strcmp(name, "run")) return service(NULL, NULL);
    if (!strcmp(name, "1")) return stage1();
    if (!strcmp(name, "2")) return stage2();
    if (!strcmp(name, "3")) return stage3();
    if (!strcmp(name, "finish")) return power_off(), 1;
    if (!strcmp(first, "service")) return service(second, third);
    if (!strcmp(first, "monitor") && second) return monitor(second, third);
    if (getpid() != 1) return 2;
    if (!access("/usr/bin/s6-svscan", X_OK)) return begin_s6();
    return floor_of_all(getenv("bench_count"));
}
