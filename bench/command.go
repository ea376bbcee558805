package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// commands are what the driver runs of this program in processes of their own,
// where a place wants them: "bench NAME ARGUMENT...". Each is given what comes
// after its name, and ends when ctx does.
var commands = map[string]func(ctx context.Context, args []string) error{
	clientCommand: runClientCommand,
	originCommand: runOriginCommand,
	"echo":        runEcho,
	"verify":      runVerify,
}

// runCommand runs the command that args begin with until it ends or SIGINT or
// SIGTERM comes, and returns its exit code. ok is false where they begin with
// none, which is how a person starts the program.
func runCommand(args []string) (code int, ok bool) {
	if len(args) == 0 {
		return 0, false
	}
	run, ok := commands[args[0]]
	if !ok {
		return 0, false
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1, true
	}
	return 0, true
}
