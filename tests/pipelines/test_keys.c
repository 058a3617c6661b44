/// Proves: key files are made private and read back; what is cut, altered, of the wrong kind, open
/// to others, a folder or too large is refused with its file, line and a sentence, and no key of
/// the file is repeated in it; a list of clients is searched as it is now.
/// Does not prove: any bytes (tests/fuzz/fuzz_keys.c); what the keys open (test_curve.c).
#include <pipelines/transport/keys.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define PUBLIC "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID"
#define SECRET "D:)Q[IlAW!ahhC2ac:9*A}h:p?([4%wOTJ%JR%cs"
#define OTHER "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"

static char folder[] = "/tmp/hsd-keys-XXXXXX";

static const char *in_folder(const char *name)
{
    static char path[2][256];
    static int i;
    i = !i;
    snprintf(path[i], sizeof path[i], "%s/%s", folder, name);
    return path[i];
}

static void write_file(const char *name, const char *text, mode_t mode)
{
    FILE *file = fopen(in_folder(name), "w");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, strlen(text), file), strlen(text));
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(in_folder(name), mode), 0);
}

static void made_files_are_private_and_read_back(void **state)
{
    (void)state;
    hsd_error err;
    hsdi_key_pair pair = {0};
    hsdi_public_key key = {0};
    struct stat about;
    assert_int_equal(hsdi_key_files_create(in_folder("alice"), &err), HSD_OK);
    assert_int_equal(stat(in_folder("alice.key"), &about), 0);
    assert_int_equal(about.st_mode & 07777, 0600);
    assert_int_equal(hsdi_key_pair_read(in_folder("alice.key"), &pair, &err), HSD_OK);
    assert_int_equal(hsdi_public_key_read(in_folder("alice.pub"), &key, &err), HSD_OK);
    assert_string_equal(pair.public_key, key.key);
    assert_string_not_equal(pair.public_key, pair.secret_key);
    assert_string_equal(key.name, "alice");
}

static void nothing_is_overwritten(void **state)
{
    (void)state;
    hsd_error err = {0};
    write_file("bob.key", "precious", 0600);
    assert_int_equal(hsdi_key_files_create(in_folder("bob"), &err), HSD_EIO);
    assert_string_equal(err.where, in_folder("bob.key"));
    assert_int_equal(access(in_folder("bob.pub"), F_OK), -1);
    write_file("carol.pub", "precious", 0644);
    assert_int_equal(hsdi_key_files_create(in_folder("carol"), &err), HSD_EIO);
    assert_string_equal(err.where, in_folder("carol.pub"));
    assert_int_equal(access(in_folder("carol.key"), F_OK), -1);
    assert_int_equal(hsdi_key_files_create(in_folder("none/dave"), &err), HSD_EIO);
}

static void names_that_would_not_do_are_refused(void **state)
{
    (void)state;
    char longest[HSDI_KEY_NAME_BYTES + 1];
    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    const char *const bad[] = {"", "keys/", "a b", "a\nb", ".hidden", "a.key", "a.pub", longest};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        hsd_error err = {0};
        assert_int_equal(hsdi_key_files_create(bad[i], &err), HSD_EINVAL);
        assert_true(err.message[0]);
    }
}

/// A text that must be refused at `line` with `needle`, quoting no key.
typedef struct refusal {
    const char *text;
    int64_t line;
    const char *needle;
} refusal;

static void must_refuse(const refusal *r, hsd_status status, const hsd_error *err)
{
    if (status != HSD_EFORMAT || err->line != r->line || !strstr(err->message, r->needle) ||
        strcmp(err->where, "file") != 0) {
        fail_msg("%s\ngave status %d, %s, line %lld: %s", r->text, (int)status, err->where,
                 (long long)err->line, err->message);
    }
    assert_null(strstr(err->message, "D:)Q"));
}

static void damaged_key_pairs_are_refused_with_line_and_sentence(void **state)
{
    (void)state;
    static const refusal cases[] = {
        {"", 0, "`public KEY' is missing"},
        {"# nothing\n\n", 2, "`public KEY' is missing"},
        {"public " PUBLIC "\n", 1, "the file was cut"},
        {"public " PUBLIC "\nsecr", 2, "`public KEY' or `secret KEY'"},
        {"public " PUBLIC "\nsecret", 2, "this word has 0"},
        {"public " PUBLIC "\nsecret D:)Q[IlAW!ahh", 2, "this word has 13"},
        {"public " PUBLIC "\nsecret " SECRET "x\n", 2, "this word has 41"},
        {"public " PUBLIC "\nsecret D:)Q[IlAW!ahhC2ac:9*A}h:p?([4%wOTJ%JR%c\"\n", 2, "Z85"},
        {"public " PUBLIC "\nsecret ########################################\n", 2, "Z85"},
        {"public " OTHER "\nsecret " SECRET "\n", 2, "do not belong together"},
        {"public " PUBLIC "\npublic " PUBLIC "\n", 2, "there already"},
        {"public " PUBLIC " mine\n", 1, "something follows"},
        {PUBLIC " alice\n", 1, "this is a public key"},
        {PUBLIC, 1, "this is a public key"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        hsd_error err = {0};
        hsdi_key_pair pair = {0};
        const refusal *r = &cases[i];
        must_refuse(r, hsdi_key_pair_parse(r->text, strlen(r->text), "file", &pair, &err), &err);
        assert_int_equal(pair.secret_key[0], 0);
    }
}

static void key_pairs_may_be_written_loosely(void **state)
{
    (void)state;
    static const char text[] = "\r\n# mine\n\t secret\t" SECRET "  \r\n  # x\npublic " PUBLIC;
    hsdi_key_pair pair = {0};
    hsd_error err;
    assert_int_equal(hsdi_key_pair_parse(text, strlen(text), "file", &pair, &err), HSD_OK);
    assert_string_equal(pair.public_key, PUBLIC);
    assert_string_equal(pair.secret_key, SECRET);
}

static void damaged_lists_are_refused_with_line_and_sentence(void **state)
{
    (void)state;
    static const refusal cases[] = {
        {"", 0, "no key"},
        {"# " PUBLIC "\n\n#\n", 3, "no key"},
        {PUBLIC " alice\nalice " PUBLIC "\n", 2, "this word has 5"},
        {"public " PUBLIC "\nsecret " SECRET "\n", 1, "nobody else should have"},
        {"\nsecret " SECRET "\n", 2, "nobody else should have"},
        {PUBLIC "\n\n" PUBLIC OTHER "\n", 3, "this word has 80"},
        {PUBLIC "\nrq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf\x80\n", 2, "Z85"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        hsd_error err = {0};
        size_t n = 0;
        const refusal *r = &cases[i];
        must_refuse(r, hsdi_public_keys_parse(r->text, strlen(r->text), "file", NULL, 0, &n, &err),
                    &err);
    }
    hsd_error err = {0};
    size_t n = 0;
    static const char nul[] = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]y\0f";
    assert_int_equal(hsdi_public_keys_parse(nul, sizeof nul - 1, "file", NULL, 0, &n, &err),
                     HSD_EFORMAT);
}

static void lists_have_keys_and_names(void **state)
{
    (void)state;
    static const char text[] = "# who may\n" PUBLIC " alice at work\n" OTHER;
    hsdi_public_key keys[1] = {0};
    hsd_error err;
    size_t n = 0;
    assert_int_equal(hsdi_public_keys_parse(text, strlen(text), "file", keys, 1, &n, &err), HSD_OK);
    assert_int_equal(n, 2);
    assert_string_equal(keys[0].key, PUBLIC);
    assert_string_equal(keys[0].name, "alice at work");
}

static void what_others_may_read_is_refused(void **state)
{
    (void)state;
    static const mode_t modes[] = {0644, 0640, 0604, 0660, 0601};
    static const char text[] = "public " PUBLIC "\nsecret " SECRET "\n";
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
        hsd_error err = {0};
        hsdi_key_pair pair = {0};
        write_file("open.key", text, modes[i]);
        assert_int_equal(hsdi_key_pair_read(in_folder("open.key"), &pair, &err), HSD_EIO);
        assert_non_null(strstr(err.message, "chmod 600"));
        assert_int_equal(pair.secret_key[0], 0);
        write_file("open.key", text, 0400);
        assert_int_equal(hsdi_key_pair_read(in_folder("open.key"), &pair, &err), HSD_OK);
    }
}

static void what_is_no_key_file_is_refused(void **state)
{
    (void)state;
    hsd_error err = {0};
    hsdi_key_pair pair;
    hsdi_public_key key;
    assert_int_equal(hsdi_key_pair_read(folder, &pair, &err), HSD_EIO);
    assert_non_null(strstr(err.message, "a folder"));
    assert_int_equal(hsdi_public_key_read("/dev/null", &key, &err), HSD_EIO);
    assert_non_null(strstr(err.message, "no regular file"));
    assert_int_equal(mkfifo(in_folder("pipe"), 0600), 0);
    assert_int_equal(hsdi_key_pair_read(in_folder("pipe"), &pair, &err), HSD_EIO);
    assert_int_equal(hsdi_key_pair_read(in_folder("absent"), &pair, &err), HSD_EIO);
    assert_string_equal(err.where, in_folder("absent"));
    write_file("huge", PUBLIC, 0600);
    assert_int_equal(truncate(in_folder("huge"), HSDI_KEY_FILE_BYTES_MAX + 1), 0);
    assert_int_equal(hsdi_public_key_read(in_folder("huge"), &key, &err), HSD_EFORMAT);
    write_file("two", PUBLIC "\n" OTHER "\n", 0600);
    assert_int_equal(hsdi_public_key_read(in_folder("two"), &key, &err), HSD_EFORMAT);
    assert_non_null(strstr(err.message, "here are 2"));
    write_file("secret", PUBLIC "\n", 0000);
    if (geteuid() != 0) {
        assert_int_equal(hsdi_public_key_read(in_folder("secret"), &key, &err), HSD_EIO);
    }
}

static void a_list_is_searched_as_it_is_now(void **state)
{
    (void)state;
    hsd_error err = {0};
    bool is_listed = true;
    char name[HSDI_KEY_NAME_BYTES] = "";
    write_file("clients", PUBLIC " alice\n", 0644);
    const char *path = in_folder("clients");
    assert_int_equal(hsdi_clients_find(path, OTHER, &is_listed, name, &err), HSD_OK);
    assert_false(is_listed);
    write_file("clients", PUBLIC " alice\n" OTHER " bob\n", 0644);
    assert_int_equal(hsdi_clients_find(path, OTHER, &is_listed, name, &err), HSD_OK);
    assert_true(is_listed);
    assert_string_equal(name, "bob");
    write_file("clients", PUBLIC " alice\n" OTHER " bob\ncarol\n", 0644);
    assert_int_equal(hsdi_clients_find(path, OTHER, &is_listed, name, &err), HSD_EFORMAT);
    assert_false(is_listed);
    assert_int_equal(err.line, 3);
}

static int setup(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(made_files_are_private_and_read_back),
        cmocka_unit_test(nothing_is_overwritten),
        cmocka_unit_test(names_that_would_not_do_are_refused),
        cmocka_unit_test(damaged_key_pairs_are_refused_with_line_and_sentence),
        cmocka_unit_test(key_pairs_may_be_written_loosely),
        cmocka_unit_test(damaged_lists_are_refused_with_line_and_sentence),
        cmocka_unit_test(lists_have_keys_and_names),
        cmocka_unit_test(what_others_may_read_is_refused),
        cmocka_unit_test(what_is_no_key_file_is_refused),
        cmocka_unit_test(a_list_is_searched_as_it_is_now),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
