package top

import (
	"context"
	"errors"
	"io"
	"os"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/colorprofile"

	"l4proxy/admin"
	"l4proxy/internal/term"
)

// Source is the proxy that is shown.
type Source interface {
	Status(context.Context) (*admin.Status, error)
	// Stats has the counters that rates come from. A proxy that does not count returns an error,
	// and its rates are not shown.
	Stats(context.Context) (*admin.Stats, error)
	Connections(context.Context, admin.ConnectionQuery) (*admin.ConnectionPage, error)
	Drain(context.Context, admin.DrainRequest) (*admin.Drain, error)
	Kill(context.Context, admin.KillRequest) (*admin.Kill, error)
}

// Options are what the view needs beside the source.
type Options struct {
	// Address is that of the proxy, for the first line.
	Address string
	// Interval is the time between two requests for the status.
	Interval time.Duration
	// Problems are what an operator should look at, the most important first.
	Problems func(*admin.Status, time.Time) []Problem
	// Describe says what has become of a drain.
	Describe func(*admin.Drain, time.Time) string
	// Explain turns an error of the source into one that says what to do.
	Explain func(error) error
	// Color says whether the terminal wants colors.
	Color bool
}

// Problem is something that an operator should look at.
type Problem struct {
	Text string
	Tone term.Tone
}

// Show shows the view on a terminal until the user quits or ctx is done.
func Show(ctx context.Context, source Source, o Options, in io.Reader, out io.Writer) error {
	profile := colorprofile.ASCII // reverse video is no color
	if o.Color {
		profile = colorprofile.ANSI
	}
	program := tea.NewProgram(newModel(ctx, source, o), tea.WithInput(in), tea.WithOutput(out),
		tea.WithColorProfile(profile), tea.WithEnvironment(os.Environ()), tea.WithoutSignalHandler())
	// Not tea.WithContext: that closes the terminal while it is being read.
	stop := context.AfterFunc(ctx, program.Quit)
	defer stop()
	_, err := program.Run()
	if errors.Is(err, tea.ErrInterrupted) || ctx.Err() != nil {
		return nil
	}
	return err
}
