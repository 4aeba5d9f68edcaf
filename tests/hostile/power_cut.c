/* Records what a process writes below a folder, and what of it was flushed to the disk: for power_cuts.py.

   Loaded into the process by LD_PRELOAD. Each record is a line, and the bytes that were written follow it. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define MOST_FILES 65536
#define REAL(name) ((__typeof__(&name))real(#name))

static pthread_mutex_t lock = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
static long opened[MOST_FILES]; /* By descriptor: the number of its open, or 0. */
static long opens, flushes;

static void *real(const char *name) { return dlsym(RTLD_NEXT, name); }

static const char *inside(const char *path) {
    const char *folder = getenv("POWER_CUT_FOLDER");
    size_t length = folder ? strlen(folder) : 0;
    if (!length || !path || strncmp(path, folder, length)) return NULL;
    return !path[length] ? "." : path[length] == '/' ? path + length + 1 : NULL;
}

static void record(const void *bytes, size_t count, const char *format, ...) {
    static int log = -1;
    char line[8192];
    va_list values;
    va_start(values, format);
    int length = vsnprintf(line, sizeof line, format, values);
    va_end(values);
    if (log < 0) log = REAL(open)(getenv("POWER_CUT_LOG"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    struct iovec parts[2] = {{line, length}, {(void *)bytes, count}};
    if (writev(log, parts, bytes ? 2 : 1) < 0) abort();
}

static int opened_now(int fd, const char *path, int flags) {
    const char *name = inside(path);
    if (fd >= 0 && fd < MOST_FILES) {
        opened[fd] = name ? ++opens : 0;
        if (name) record(NULL, 0, "open %ld %d %s\n", opens, (flags & O_TRUNC) != 0, name);
    }
    return fd;
}

#define OPEN(function)                                                   \
    int function(const char *path, int flags, ...) {                     \
        va_list more;                                                    \
        va_start(more, flags);                                           \
        int mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, int) : 0; \
        va_end(more);                                                    \
        pthread_mutex_lock(&lock);                                       \
        int fd = opened_now(REAL(function)(path, flags, mode), path, flags); \
        pthread_mutex_unlock(&lock);                                     \
        return fd;                                                       \
    }
OPEN(open)
OPEN(open64)

static long number_of(int fd) { return fd >= 0 && fd < MOST_FILES ? opened[fd] : 0; }

int close(int fd) {
    pthread_mutex_lock(&lock);
    if (number_of(fd)) opened[fd] = 0;
    int result = REAL(close)(fd);
    pthread_mutex_unlock(&lock);
    return result;
}

static void written(int fd, const void *bytes, ssize_t count, off64_t offset) {
    if (count > 0) record(bytes, count, "write %ld %ld %ld\n", number_of(fd), (long)offset, (long)count);
}

ssize_t write(int fd, const void *bytes, size_t count) {
    if (!number_of(fd)) return REAL(write)(fd, bytes, count);
    pthread_mutex_lock(&lock);
    off64_t offset = lseek64(fd, 0, fcntl(fd, F_GETFL) & O_APPEND ? SEEK_END : SEEK_CUR);
    ssize_t result = REAL(write)(fd, bytes, count);
    written(fd, bytes, result, offset);
    pthread_mutex_unlock(&lock);
    return result;
}

#define PWRITE(function, type)                                             \
    ssize_t function(int fd, const void *bytes, size_t count, type offset) { \
        if (!number_of(fd)) return REAL(function)(fd, bytes, count, offset); \
        pthread_mutex_lock(&lock);                                         \
        ssize_t result = REAL(function)(fd, bytes, count, offset);         \
        written(fd, bytes, result, offset);                                \
        pthread_mutex_unlock(&lock);                                       \
        return result;                                                     \
    }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

#define TRUNCATE(function, type)                                                       \
    int function(int fd, type size) {                                                  \
        pthread_mutex_lock(&lock);                                                     \
        int result = REAL(function)(fd, size);                                         \
        if (!result && number_of(fd)) record(NULL, 0, "truncate %ld %ld\n", number_of(fd), (long)size); \
        pthread_mutex_unlock(&lock);                                                   \
        return result;                                                                 \
    }
TRUNCATE(ftruncate, off_t)
TRUNCATE(ftruncate64, off64_t)

/* What is written while it runs may not be on the disk when it returns: so what counts is its beginning. */
#define SYNC(function)                                                                 \
    int function(int fd) {                                                             \
        pthread_mutex_lock(&lock);                                                     \
        long file = number_of(fd), flush = file ? ++flushes : 0;                       \
        if (file) record(NULL, 0, "flush %ld %ld\n", file, flush);                     \
        pthread_mutex_unlock(&lock);                                                   \
        int result = REAL(function)(fd);                                               \
        if (file && !result) record(NULL, 0, "flushed %ld\n", flush);                  \
        return result;                                                                 \
    }
SYNC(fsync)
SYNC(fdatasync)

int rename(const char *from, const char *to) {
    pthread_mutex_lock(&lock);
    int result = REAL(rename)(from, to);
    if (!result && inside(to)) record(NULL, 0, "rename %s\n%s\n", inside(from), inside(to));
    pthread_mutex_unlock(&lock);
    return result;
}

int unlink(const char *path) {
    pthread_mutex_lock(&lock);
    int result = REAL(unlink)(path);
    if (!result && inside(path)) record(NULL, 0, "unlink %s\n", inside(path));
    pthread_mutex_unlock(&lock);
    return result;
}

int mkdir(const char *path, mode_t mode) {
    pthread_mutex_lock(&lock);
    int result = REAL(mkdir)(path, mode);
    if (!result && inside(path)) record(NULL, 0, "mkdir %s\n", inside(path));
    pthread_mutex_unlock(&lock);
    return result;
}
