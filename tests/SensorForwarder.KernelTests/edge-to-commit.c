/*
 * Measures the time from an edge to its commit: sets a line of sim_gpio and waits for the last write of the commit to
 * the database's WAL. Prints the milliseconds for each edge.
 * Usage: edge-to-commit LINE EDGES LOG
 */
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1e3 + time.tv_nsec / 1e6;
}

int main(int count, char **arguments)
{
	char command[32], events[4096];
	int i, length, level, watch = inotify_init();

	if (count != 4 || (level = open("/sys/kernel/debug/sim_gpio/level", O_WRONLY)) < 0 || inotify_add_watch(watch, arguments[3], IN_MODIFY) < 0) {
		perror("edge-to-commit LINE EDGES LOG");
		return 1;
	}
	for (i = 0; i < atoi(arguments[2]); i++) {
		struct pollfd news = { .fd = watch, .events = POLLIN };
		double edge, commit = -1;

		/* Wait until the WAL has not changed for a while. */
		while (poll(&news, 1, 500) > 0)
			if (read(watch, events, sizeof(events)) < 0)
				return 1;
		length = snprintf(command, sizeof(command), "%s %d", arguments[1], i % 2 == 0);
		edge = now();
		if (write(level, command, length) < 0)
			return 1;
		/* A commit consists of several writes; the last one completes it. */
		while (poll(&news, 1, commit < 0 ? 10000 : 200) > 0) {
			commit = now();
			if (read(watch, events, sizeof(events)) < 0)
				return 1;
		}
		if (commit < 0) {
			fprintf(stderr, "the edge was not committed within 10 s\n");
			return 1;
		}
		printf("%.3f\n", commit - edge);
	}
	return 0;
}
