/// A locale with decimal commas for a test, made on the spot.
#ifndef HSD_TESTS_COMMA_LOCALE_H
#define HSD_TESTS_COMMA_LOCALE_H

#include <locale.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/// The process's locale becomes one that writes 1,5. False: this system cannot make one (localedef,
/// or its character maps, are not installed). comma_locale_unset goes back to "C".
static inline bool comma_locale_set(void)
{
    static const char source[] =
        "LC_CTYPE\ncopy \"POSIX\"\nEND LC_CTYPE\nLC_COLLATE\ncopy \"POSIX\"\nEND LC_COLLATE\n"
        "LC_MONETARY\ncopy \"POSIX\"\nEND LC_MONETARY\nLC_TIME\ncopy \"POSIX\"\nEND LC_TIME\n"
        "LC_MESSAGES\ncopy \"POSIX\"\nEND LC_MESSAGES\nLC_NUMERIC\ndecimal_point \",\"\n"
        "thousands_sep \".\"\ngrouping 3;3\nEND LC_NUMERIC\n";
    char folder[] = "/tmp/hsd-locale-XXXXXX", path[64], command[256], shown[16] = "";
    if (!mkdtemp(folder)) {
        return false;
    }
    snprintf(path, sizeof path, "%s/source", folder);
    FILE *file = fopen(path, "w");
    if (file) {
        fputs(source, file);
        fclose(file);
    }
    // What it warns of (categories that are left out) is no reason not to use it.
    snprintf(command, sizeof command,
             "localedef -c -i %s/source -f ANSI_X3.4-1968 %s/comma >/dev/null 2>&1", folder,
             folder);
    if (system(command) == -1 || setenv("LOCPATH", folder, 1) != 0) {
        return false;
    }
    bool is_set = setlocale(LC_ALL, "comma") != NULL;
    unsetenv("LOCPATH");
    snprintf(command, sizeof command, "rm -r %s", folder);
    is_set = system(command) == 0 && is_set; // it is in memory now
    snprintf(shown, sizeof shown, "%.1f", 1.5);
    return is_set && strcmp(shown, "1,5") == 0;
}

static inline void comma_locale_unset(void)
{
    setlocale(LC_ALL, "C");
}

#endif
