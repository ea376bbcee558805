package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// confirm asks a question on a terminal. It returns refused if the answer is not yes.
func confirm(ctx context.Context, in io.Reader, out io.Writer, question string, refused error) error {
	fmt.Fprintf(out, "%s [y/N] ", question)
	answer := make(chan string, 1)
	go func() { // a read from a terminal cannot be canceled
		line, _ := bufio.NewReader(in).ReadString('\n')
		answer <- strings.ToLower(strings.TrimSpace(line))
	}()
	select {
	case text := <-answer:
		if text == "y" || text == "yes" {
			return nil
		}
		return refused
	case <-ctx.Done():
		return context.Canceled
	}
}

// terminal returns a file that is a terminal, nil for anything else.
func terminal(in io.Reader) io.Reader {
	file, ok := in.(*os.File)
	if !ok {
		return nil
	}
	if _, err := unix.IoctlGetTermios(int(file.Fd()), unix.TCGETS); err != nil {
		return nil
	}
	return file
}
