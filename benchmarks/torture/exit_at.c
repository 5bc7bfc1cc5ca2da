/* Ends the process at the k-th change of a folder: preloaded, counts what changes files below it, on every thread.
   It sees what goes through the C library, SQLite's calls among it. Inert until armed. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#define CODE 77

static struct { uint64_t n; char what[248]; } *shared; /* in a file: several processes count on */
static char folder[4096];
static size_t folder_length;
static uint64_t last;
static int in_half;

/* Exit before change number `k` below `path`; `half`: a write gets its first half done. 0 for k: only count. */
int exit_at_arm(const char *counter, const char *path, uint64_t k, int half)
{
    int fd = syscall(SYS_openat, AT_FDCWD, counter, O_RDWR | O_CREAT, 0600);
    if (fd < 0 || syscall(SYS_ftruncate, fd, 4096) < 0)
        return errno;
    folder_length = strlen(path);
    memcpy(folder, path, folder_length + 1);
    last = k;
    in_half = half;
    shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    syscall(SYS_close, fd);
    return shared == MAP_FAILED ? errno : 0;
}

static int is_last(const char *call, const char *path)
{
    if (!shared || strncmp(path, folder, folder_length))
        return 0;
    if (__atomic_add_fetch(&shared->n, 1, __ATOMIC_SEQ_CST) != last)
        return 0;
    snprintf(shared->what, sizeof shared->what, "%s %s", call, path + folder_length);
    return 1;
}

static int is_last_on(const char *call, int fd)
{
    char link[64], path[4096];
    ssize_t length;
    if (!shared)
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    length = readlink(link, path, sizeof path - 1);
    if (length < 0)
        return 0;
    path[length] = 0;
    return is_last(call, path);
}

ssize_t write(int fd, const void *data, size_t n)
{
    if (is_last_on("write", fd)) {
        if (in_half)
            syscall(SYS_write, fd, data, n / 2);
        _exit(CODE);
    }
    return syscall(SYS_write, fd, data, n);
}

static ssize_t write_at(int fd, const void *data, size_t n, off_t offset)
{
    if (is_last_on("pwrite", fd)) {
        if (in_half)
            syscall(SYS_pwrite64, fd, data, n / 2, offset);
        _exit(CODE);
    }
    return syscall(SYS_pwrite64, fd, data, n, offset);
}

ssize_t pwrite(int fd, const void *data, size_t n, off_t offset) { return write_at(fd, data, n, offset); }
ssize_t pwrite64(int fd, const void *data, size_t n, off_t offset) { return write_at(fd, data, n, offset); }

#define BEFORE(is) do { if (is) _exit(CODE); } while (0)

int fsync(int fd) { BEFORE(is_last_on("fsync", fd)); return syscall(SYS_fsync, fd); }
int fdatasync(int fd) { BEFORE(is_last_on("fdatasync", fd)); return syscall(SYS_fdatasync, fd); }

static int cut(int fd, off_t n) { BEFORE(is_last_on("ftruncate", fd)); return syscall(SYS_ftruncate, fd, n); }
int ftruncate(int fd, off_t n) { return cut(fd, n); }
int ftruncate64(int fd, off_t n) { return cut(fd, n); }

int unlink(const char *path) { BEFORE(is_last("unlink", path)); return syscall(SYS_unlinkat, AT_FDCWD, path, 0); }

int rename(const char *from, const char *to)
{
    BEFORE(is_last("rename", from));
    return syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
}

int mkdir(const char *path, mode_t mode)
{
    BEFORE(faccessat(AT_FDCWD, path, F_OK, 0) && is_last("mkdir", path));
    return syscall(SYS_mkdirat, AT_FDCWD, path, mode);
}

static int open_at(const char *path, int flags, va_list more)
{
    mode_t mode = flags & O_CREAT ? va_arg(more, mode_t) : 0;
    if (shared && flags & (O_CREAT | O_TRUNC))
        BEFORE((flags & O_TRUNC || faccessat(AT_FDCWD, path, F_OK, 0)) && is_last("open", path));
    return syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

int open(const char *path, int flags, ...)
{
    va_list more;
    va_start(more, flags);
    int fd = open_at(path, flags, more);
    va_end(more);
    return fd;
}

int open64(const char *path, int flags, ...)
{
    va_list more;
    va_start(more, flags);
    int fd = open_at(path, flags, more);
    va_end(more);
    return fd;
}
