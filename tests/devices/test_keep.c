/// Proves: what is kept is read back whole; files that are cut, longer, changed in any byte, or of
///           another key or kind count as absent; a folder that cannot be written, and a full
///           device, give HSD_EIO with the path and leave nothing behind; the three environment
///           variables choose the folder; an empty one turns it off.
/// Does not prove: anything about a file system that lies about what it has written.
#include "devices/keep.h"

#include <dirent.h>
#include <limits.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char root[64];

static int begin(void **state)
{
    (void)state;
    snprintf(root, sizeof root, "/tmp/hsd-test-XXXXXX");
    return mkdtemp(root) && setenv("HSD_CACHE_DIR", root, 1) == 0 ? 0 : -1;
}

static int n_files(const char *path)
{
    int n = 0;
    DIR *dir = opendir(path);
    for (struct dirent *entry = dir ? readdir(dir) : NULL; entry; entry = readdir(dir)) {
        n += entry->d_name[0] != '.';
    }
    if (dir) {
        closedir(dir);
    }
    return n;
}

static int end(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", root);
    return system(command);
}

static bool holds(const char *kind, const char *key, const void *want, size_t n_want)
{
    void *data = NULL;
    size_t n = 0;
    bool there = hsdi_keep_read(kind, key, &data, &n);
    if (there) {
        assert_int_equal(n, n_want);
        assert_memory_equal(data, want, n);
        free(data);
    }
    return there;
}

static void what_is_kept_is_read_back_under_its_kind_and_key_only(void **state)
{
    (void)state;
    hsd_error err = {0};
    struct stat info;
    char path[PATH_MAX];
    assert_false(holds("kind", "key", "", 0));
    assert_int_equal(hsdi_keep_write("kind", "key", "data", 4, &err), HSD_OK);
    assert_true(holds("kind", "key", "data", 4));
    assert_false(holds("kind", "other", "", 0));
    assert_false(holds("other", "key", "", 0));
    assert_int_equal(hsdi_keep_write("kind", "key", "newer data", 10, &err), HSD_OK);
    assert_true(holds("kind", "key", "newer data", 10));
    assert_int_equal(n_files(root), 1);
    // A file of another key that has this one's name.
    char from[PATH_MAX];
    assert_true(hsdi_keep_path("kind", "key", from, sizeof from));
    assert_true(hsdi_keep_path("kind", "kex", path, sizeof path));
    assert_int_equal(rename(from, path), 0);
    assert_false(holds("kind", "kex", "", 0));
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 077, 0); // for its owner only
}

static void damaged_files_count_as_absent(void **state)
{
    (void)state;
    char path[PATH_MAX];
    unsigned char good[128];
    assert_int_equal(hsdi_keep_write("kind", "key", "data", 4, NULL), HSD_OK);
    assert_true(hsdi_keep_path("kind", "key", path, sizeof path));
    FILE *file = fopen(path, "rb");
    size_t n = fread(good, 1, sizeof good - 1, file);
    fclose(file);
    for (size_t i = 0; i < 2 * n + 1; i++) { // cut to i bytes; then byte i - n changed; longer
        unsigned char bad[128];
        memcpy(bad, good, sizeof bad);
        size_t size = i < n ? i : n;
        if (i >= n && i < 2 * n) {
            bad[i - n] ^= 0x10;
        }
        size += i == 2 * n;
        file = fopen(path, "wb");
        assert_int_equal(fwrite(bad, 1, size, file), size);
        fclose(file);
        assert_false(holds("kind", "key", "", 0));
    }
    assert_int_equal(hsdi_keep_write("kind", "key", "data", 4, NULL), HSD_OK);
    assert_true(holds("kind", "key", "data", 4));
}

static void what_cannot_be_written_is_named_and_leaves_nothing(void **state)
{
    (void)state;
    hsd_error err = {0};
    char path[128];
    snprintf(path, sizeof path, "%s/file", root);
    fclose(fopen(path, "wb"));
    strcat(path, "/hsd"); // a file is no folder
    setenv("HSD_CACHE_DIR", path, 1);
    assert_int_equal(hsdi_keep_write("kind", "key", "data", 4, &err), HSD_EIO);
    assert_non_null(strstr(err.where, path));
    setenv("HSD_CACHE_DIR", root, 1);
    // No space: the kernel refuses to let a file grow, as a full disk does.
    const struct rlimit small = {.rlim_cur = 16, .rlim_max = RLIM_INFINITY};
    struct rlimit before;
    getrlimit(RLIMIT_FSIZE, &before);
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &small);
    hsd_status status = hsdi_keep_write("kind", "key", "data", 4, &err);
    setrlimit(RLIMIT_FSIZE, &before);
    assert_int_equal(status, HSD_EIO);
    assert_int_equal(n_files(root), 1); // only "file"
    assert_false(holds("kind", "key", "", 0));
}

static void the_environment_chooses_the_folder(void **state)
{
    (void)state;
    char path[PATH_MAX], want[128];
    char *xdg = getenv("XDG_CACHE_HOME") ? strdup(getenv("XDG_CACHE_HOME")) : NULL;
    char *home = getenv("HOME") ? strdup(getenv("HOME")) : NULL;
    setenv("HSD_CACHE_DIR", "", 1);
    assert_false(hsdi_keep_path("kind", "key", path, sizeof path));
    assert_int_equal(hsdi_keep_write("kind", "key", "data", 4, NULL), HSD_OK);
    unsetenv("HSD_CACHE_DIR");
    setenv("XDG_CACHE_HOME", root, 1);
    assert_true(hsdi_keep_path("kind", "key", path, sizeof path));
    snprintf(want, sizeof want, "%s/hsd/kind-", root);
    assert_memory_equal(path, want, strlen(want));
    assert_int_equal(hsdi_keep_write("kind", "key", "data", 4, NULL), HSD_OK);
    assert_true(holds("kind", "key", "data", 4));
    setenv("XDG_CACHE_HOME", "relative", 1);
    setenv("HOME", root, 1);
    assert_true(hsdi_keep_path("kind", "key", path, sizeof path));
    snprintf(want, sizeof want, "%s/.cache/hsd/kind-", root);
    assert_memory_equal(path, want, strlen(want));
    unsetenv("HOME");
    assert_false(hsdi_keep_path("kind", "key", path, sizeof path));
    xdg ? setenv("XDG_CACHE_HOME", xdg, 1) : unsetenv("XDG_CACHE_HOME");
    home ? setenv("HOME", home, 1) : unsetenv("HOME");
    free(xdg);
    free(home);
}

#define WITH_FOLDER(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FOLDER(what_is_kept_is_read_back_under_its_kind_and_key_only),
        WITH_FOLDER(damaged_files_count_as_absent),
        WITH_FOLDER(what_cannot_be_written_is_named_and_leaves_nothing),
        WITH_FOLDER(the_environment_chooses_the_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
