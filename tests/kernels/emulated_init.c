/// The first process of the machine that emulate.py boots: runs every program of /programs and says
/// on the console how each ended.
#include <dirent.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

static int run(const char *name)
{
    char path[300];
    snprintf(path, sizeof path, "/programs/%s", name);
    pid_t child = fork();
    if (child == 0) {
        execl(path, name, (char *)NULL);
        _exit(127);
    }
    int status = -1;
    waitpid(child, &status, 0);
    return status;
}

int main(void)
{
    DIR *programs = opendir("/programs");
    struct dirent *entry;
    while (programs && (entry = readdir(programs))) {
        if (entry->d_name[0] != '.') {
            printf("emulated: %s begins\n", entry->d_name);
            fflush(stdout);
            printf("emulated: %s ends with %d\n", entry->d_name, run(entry->d_name));
            fflush(stdout);
        }
    }
    puts("emulated: end");
    fflush(stdout);
    for (;;) { // the first process must not end
        pause();
    }
}
