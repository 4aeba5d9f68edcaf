/* A file system that lacks what POOR_DISK names, for the files under POOR_FOLDER: preloaded into a process. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static int lacks(const char *what) {
    const char *list = getenv("POOR_DISK");
    return list && strstr(list, what);
}

static int is_there(int handle) {
    char link[64], path[PATH_MAX];
    const char *folder = getenv("POOR_FOLDER");
    snprintf(link, sizeof link, "/proc/self/fd/%d", handle);
    ssize_t size = readlink(link, path, sizeof path - 1);
    if (size < 0 || !folder) return 0;
    path[size] = 0;
    return !strncmp(path, folder, strlen(folder));
}

#define REAL(name) ((__typeof__(name) *)dlsym(RTLD_NEXT, #name))
#define REFUSE(what, error) if (lacks(what) && is_there(handle)) { errno = error; return -1; }

int flock(int handle, int operation) {
    REFUSE("flock", ENOLCK)
    return REAL(flock)(handle, operation);
}

static int control(int handle, int command, void *argument) {
    if (command == F_SETLK || command == F_SETLKW || command == F_GETLK) REFUSE("lockf", ENOLCK)
    return ((int (*)(int, int, ...))dlsym(RTLD_NEXT, "fcntl64"))(handle, command, argument);
}

int fcntl(int handle, int command, ...) {
    va_list rest;
    va_start(rest, command);
    void *argument = va_arg(rest, void *);
    va_end(rest);
    return control(handle, command, argument);
}

int fcntl64(int handle, int command, ...) {
    va_list rest;
    va_start(rest, command);
    void *argument = va_arg(rest, void *);
    va_end(rest);
    return control(handle, command, argument);
}

int fsync(int handle) {
    struct stat found;
    if (!fstat(handle, &found) && S_ISDIR(found.st_mode)) REFUSE("fsync", EINVAL)
    return REAL(fsync)(handle);
}

void *mmap(void *address, size_t size, int protection, int flags, int handle, off_t offset) {
    if ((flags & MAP_SHARED) && handle >= 0 && lacks("mmap") && is_there(handle)) {
        errno = ENODEV;
        return MAP_FAILED;
    }
    return REAL(mmap)(address, size, protection, flags, handle, offset);
}

void *mmap64(void *address, size_t size, int protection, int flags, int handle, off_t offset) {
    return mmap(address, size, protection, flags, handle, offset);
}

int utimensat(int folder, const char *path, const struct timespec times[2], int flags) {
    if (lacks("utime")) {
        errno = EPERM;
        return -1;
    }
    return REAL(utimensat)(folder, path, times, flags);
}

/* What a virus scanner does: each move is refused twice. */
int rename(const char *from, const char *to) {
    static int refused;
    if (lacks("rename") && refused++ % 3 < 2) {
        errno = EACCES;
        return -1;
    }
    return REAL(rename)(from, to);
}

int renameat(int from_folder, const char *from, int to_folder, const char *to) {
    static int refused;
    if (lacks("rename") && refused++ % 3 < 2) {
        errno = EACCES;
        return -1;
    }
    return REAL(renameat)(from_folder, from, to_folder, to);
}
