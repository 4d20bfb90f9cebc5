/* Runs a fuzz target over the files of its corpus, so that what a fuzzer once found stays found, with any compiler.
 * Also feeds prefixes of each file, every one of up to 128 bytes and each seventh of up to 4 KiB: cheap, and where
 * parsers read too far. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void replay(const uint8_t *data, size_t size) {
    uint8_t *exact = malloc(size ? size : 1); /* exactly as large, so that ASan sees one byte too far */
    if (!exact)
        abort();
    if (size)
        memcpy(exact, data, size);
    LLVMFuzzerTestOneInput(exact, size);
    free(exact);
}

static int replay_file(const char *path) {
    FILE *f = fopen(path, "rb");
    if (!f)
        return -1;
    static uint8_t data[1 << 20];
    size_t size = fread(data, 1, sizeof data, f);
    fclose(f);
    replay(data, size);
    for (size_t n = 0; n < size && n < 4096; n += n < 128 ? 1 : 7)
        replay(data, n);
    return 0;
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: %s CORPUS_DIR\n", argv[0]);
        return 2;
    }
    DIR *dir = opendir(argv[1]);
    if (!dir) {
        perror(argv[1]);
        return 1;
    }
    int files = 0;
    for (struct dirent *e; (e = readdir(dir));) {
        char path[4096];
        snprintf(path, sizeof path, "%s/%s", argv[1], e->d_name);
        if (e->d_name[0] != '.' && !replay_file(path))
            files++;
    }
    closedir(dir);
    printf("%d files\n", files);
    return files ? 0 : 1; /* an empty corpus tests nothing */
}
