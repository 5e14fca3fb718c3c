package store

import (
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"

	"github.com/hashicorp/go-hclog"
)

// logger gives raft's messages to slog. Levels are slog's alone: raft asks whether
// a level is enabled, and cannot change it.
type logger struct {
	to   *slog.Logger
	name string
	args []any
}

func newLogger(to *slog.Logger) hclog.Logger {
	return &logger{to: to.With("component", "raft"), name: "raft"}
}

func slogLevel(l hclog.Level) slog.Level {
	switch l {
	case hclog.Trace:
		return slog.LevelDebug - 4
	case hclog.Debug:
		return slog.LevelDebug
	case hclog.Warn:
		return slog.LevelWarn
	case hclog.Error:
		return slog.LevelError
	}
	return slog.LevelInfo
}

// Log writes one message.
func (l *logger) Log(level hclog.Level, msg string, args ...any) {
	if level == hclog.Off {
		return
	}
	l.to.Log(context.Background(), slogLevel(level), msg, plain(args)...)
}

// plain resolves the values that hclog formats late.
func plain(args []any) []any {
	out := make([]any, len(args))
	for i, a := range args {
		if f, ok := a.(hclog.Format); ok && len(f) > 0 {
			a = fmt.Sprintf(fmt.Sprint(f[0]), f[1:]...)
		}
		out[i] = a
	}
	return out
}

func (l *logger) enabled(level hclog.Level) bool {
	return l.to.Enabled(context.Background(), slogLevel(level))
}

func (l *logger) Trace(msg string, args ...any) { l.Log(hclog.Trace, msg, args...) }
func (l *logger) Debug(msg string, args ...any) { l.Log(hclog.Debug, msg, args...) }
func (l *logger) Info(msg string, args ...any)  { l.Log(hclog.Info, msg, args...) }
func (l *logger) Warn(msg string, args ...any)  { l.Log(hclog.Warn, msg, args...) }
func (l *logger) Error(msg string, args ...any) { l.Log(hclog.Error, msg, args...) }
func (l *logger) IsTrace() bool                 { return l.enabled(hclog.Trace) }
func (l *logger) IsDebug() bool                 { return l.enabled(hclog.Debug) }
func (l *logger) IsInfo() bool                  { return l.enabled(hclog.Info) }
func (l *logger) IsWarn() bool                  { return l.enabled(hclog.Warn) }
func (l *logger) IsError() bool                 { return l.enabled(hclog.Error) }
func (l *logger) ImpliedArgs() []any            { return l.args }
func (l *logger) Name() string                  { return l.name }
func (l *logger) SetLevel(hclog.Level)          {}

// GetLevel is the lowest level that is written.
func (l *logger) GetLevel() hclog.Level {
	for _, level := range []hclog.Level{hclog.Trace, hclog.Debug, hclog.Info, hclog.Warn} {
		if l.enabled(level) {
			return level
		}
	}
	return hclog.Error
}

// With returns a logger that adds args to each of its messages.
func (l *logger) With(args ...any) hclog.Logger {
	return &logger{to: l.to.With(plain(args)...), name: l.name, args: append(l.args[:len(l.args):len(l.args)], args...)}
}

// Named returns a logger that calls itself name.
func (l *logger) Named(name string) hclog.Logger {
	return &logger{to: l.to.With("part", name), name: l.name + "." + name, args: l.args}
}

// ResetNamed is Named, since a part is all that a name adds here.
func (l *logger) ResetNamed(name string) hclog.Logger { return l.Named(name) }

// StandardLogger writes at level info.
func (l *logger) StandardLogger(opts *hclog.StandardLoggerOptions) *log.Logger {
	return log.New(l.StandardWriter(opts), "", 0)
}

// StandardWriter writes a message for each call of Write, at level info.
func (l *logger) StandardWriter(*hclog.StandardLoggerOptions) io.Writer {
	return slog.NewLogLogger(l.to.Handler(), slog.LevelInfo).Writer()
}
