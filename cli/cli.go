// Package cli is the command line: one file a command, and the text renderers.
//
// Results go to standard output, everything said about them to standard error. A
// command returns an error; Main alone prints it and turns it into the exit code.
// The renderers draw what package timeline has laid out and decide nothing.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// Version of this program.
const Version = "0.1.0"

// Streams are the standard streams of a command.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
}

// app is what every command shares.
type app struct {
	Streams
	// controller is where controllers are: one address, or several with commas between.
	controller string
	// who is how this process shows who it is.
	who     whoOptions
	noColor bool
	// stale takes what a controller knows, however old that is.
	stale bool
}

// Main runs the command that args name and returns its exit code. It writes only to
// the streams it is given and ends when ctx does.
func Main(ctx context.Context, args []string, streams Streams) int {
	a := &app{Streams: streams}
	root := a.root()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	return a.report(ctx, err)
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "syncline",
		Short: "A distributed socket lab: both real ends of a TCP connection on one timeline",
		Long: `syncline runs real client and server sockets on several hosts and merges their
calls and packets into one timeline of the handshake and the teardown, with an
honest error bar on every time that crosses hosts.`,
		Example: `  syncline demo                        a whole lab on this machine, then tidied up
  syncline validate FILE               check an experiment file
  syncline run FILE --repeat 50        run it on the agents of a controller`,
		// How many letters may be wrong for a command to be suggested.
		SuggestionsMinimumDistance: 2,
		SilenceUsage:               true,
		SilenceErrors:              true,
		Args:                       unknownCommand,
		RunE:                       func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.SetIn(a.In)
	root.SetOut(a.Out)
	root.SetErr(a.Err)
	// Flags with long texts are broken to the width of a terminal; commands inherit that.
	root.SetUsageTemplate(strings.ReplaceAll(root.UsageTemplate(), ".FlagUsages ", ".FlagUsagesWrapped 80 "))
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return &exitError{code: exitUsage, err: fmt.Errorf("%w\nTry: %s --help", err, c.CommandPath())}
	})
	root.PersistentFlags().BoolVar(&a.stale, "stale", false, "show what the asked controller knows, though it may be old; it needs no other controller")
	root.PersistentFlags().StringVar(&a.controller, "controller", envOr("SYNCLINE_CONTROLLER", "127.0.0.1:7443"), "the controller, HOST:PORT or unix:PATH; of several, with commas between, the first that answers (SYNCLINE_CONTROLLER)")
	a.who.flags(root)
	root.PersistentFlags().BoolVar(&a.noColor, "no-color", os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb", "no colours (NO_COLOR)")
	root.AddCommand(
		a.demoCommand(), a.libraryCommand(), a.validateCommand(), a.schemaCommand(), a.runCommand(),
		a.cancelCommand(), a.getCommand(), a.eventsCommand(), a.ladderCommand(), a.explainCommand(), a.clockCommand(),
		a.describeCommand(), a.exportCommand(), a.openCommand(), a.reportCommand(), a.statsCommand(), a.diffCommand(), a.planCommand(), a.doctorCommand(),
		a.archiveCommand(), a.deleteCommand(), a.controllerCommand(), a.clusterCommand(), a.agentCommand(), a.pkiCommand(), a.versionCommand(), languageTopic(),
	)
	return root
}

// unknownCommand says what was probably meant.
func unknownCommand(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	hint := "Try: " + c.CommandPath() + " --help"
	if near := c.SuggestionsFor(args[0]); len(near) > 0 {
		hint = "Did you mean " + strings.Join(near, " or ") + "?"
	}
	return &exitError{code: exitUsage, err: fmt.Errorf("no command %q. %s", args[0], hint)}
}

func envOr(name, otherwise string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return otherwise
}

// Exit codes; README.md has the table. They are never given another meaning.
const (
	exitFailed       = 1
	exitUsage        = 2
	exitInconclusive = 3
	exitUnreachable  = 4
	exitRefused      = 5
	exitTimeout      = 124
	exitInterrupted  = 130
)

// exitError is an error that knows its exit code. A nil err prints nothing: the
// command has said all on its own.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// report prints an error and returns the exit code.
func (a *app) report(ctx context.Context, err error) int {
	if err == nil {
		return 0
	}
	code := exitUsage
	var e *exitError
	if errors.As(err, &e) {
		code = e.code
		if err == error(e) && e.err == nil {
			return code
		}
	} else if ctx.Err() != nil {
		code = exitInterrupted
	}
	fmt.Fprintln(a.Err, "syncline: "+onTerminal(strings.TrimSpace(err.Error())))
	return code
}

// onTerminal is text that may have come from another machine or out of a stranger's bundle, as
// it may be put on a terminal: with ? for every control character but the ends of lines and
// tabs.
func onTerminal(text string) string {
	return strings.Map(func(r rune) rune {
		if r != '\n' && r != '\t' && !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, text)
}

// terminal reports whether w is one, and how wide: COLUMNS, else the terminal's
// own width, else 80.
func terminal(w io.Writer) (is bool, width int) {
	width = 80
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		is = true
		if columns, _, err := term.GetSize(int(f.Fd())); err == nil && columns > 0 {
			width = columns
		}
	}
	var columns int
	if n, err := fmt.Sscan(os.Getenv("COLUMNS"), &columns); err == nil && n == 1 && columns >= 40 {
		width = columns
	}
	return is, width
}
