#include "guest-images/lib/kind.h"

#include "guest-images/lib/args.h"
#include "guest-images/lib/console.h"

int run_kind(const struct kind *kinds, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (arg_word("kind", kinds[i].name)) {
            say("kind %s\n", kinds[i].name);
            return kinds[i].run();
        }
    }
    for (size_t i = 0; i < count; i++)
        say("kind %s\n", kinds[i].name);
    say("result: %u kinds\n", (unsigned)count);
    return 0;
}
