package logs

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"time"
)

func textFormat(format string, terminal bool) (bool, error) {
	switch format {
	case "", "auto":
		return terminal, nil
	case "text":
		return true, nil
	case "json":
		return false, nil
	default:
		return false, fmt.Errorf("unknown log format %q: write auto, text or json", format)
	}
}

// newFormat returns the constructor of handlers that write one line per record. Times are UTC with
// milliseconds (RFC 3339); on a terminal, local time without a date.
func newFormat(asText, terminal bool, level slog.Leveler) func(io.Writer) slog.Handler {
	return func(w io.Writer) slog.Handler {
		switch {
		case asText && terminal:
			return slog.NewTextHandler(w, &slog.HandlerOptions{Level: level, ReplaceAttr: timeOfDay})
		case asText:
			return utc{slog.NewTextHandler(w, &slog.HandlerOptions{Level: level})}
		default:
			return utc{slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level})}
		}
	}
}

func timeOfDay(groups []string, attr slog.Attr) slog.Attr {
	if len(groups) == 0 && attr.Key == slog.TimeKey && attr.Value.Kind() == slog.KindTime {
		attr.Value = slog.StringValue(attr.Value.Time().Local().Format("15:04:05.000"))
	}
	return attr
}

// utc makes its handler write times in UTC, to the millisecond. ReplaceAttr could do that too, but
// it is called for every attribute, which takes a third of the time for the line of a connection.
type utc struct{ slog.Handler }

func (h utc) Handle(ctx context.Context, record slog.Record) error {
	record.Time = record.Time.UTC().Truncate(time.Millisecond)
	return h.Handler.Handle(ctx, record)
}

func (h utc) WithAttrs(attrs []slog.Attr) slog.Handler { return utc{h.Handler.WithAttrs(attrs)} }
func (h utc) WithGroup(name string) slog.Handler       { return utc{h.Handler.WithGroup(name)} }
