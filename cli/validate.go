package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"syncline/controller/experiment"
)

func (a *app) validateCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "validate FILE...",
		Short: "Check experiment files, without a controller",
		Long:  "Check experiment files, without a controller. Every error of every file is shown, with its place.",
		Example: `  syncline validate handshake.yaml
  syncline validate basic-open-close        a scenario of the library`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return &exitError{code: exitUsage, err: errors.New("validate which file? Try: syncline validate FILE")}
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			bad := 0
			for _, arg := range args {
				exp, _, err := a.readExperiment(arg, 0)
				if err != nil {
					bad++
					if err := a.sayInvalid(err); err != nil {
						return err
					}
					continue
				}
				fmt.Fprintf(a.Out, "%s: %s: %d hosts, %d lanes, %d expectations: valid\n", arg, exp.Name, len(exp.Hosts), len(exp.Lanes), len(exp.Expect))
			}
			if bad > 0 {
				return &exitError{code: exitUsage}
			}
			return nil
		},
	}
}

// sayInvalid prints what is wrong with one file and goes on to the next; any other
// error is returned.
func (a *app) sayInvalid(err error) error {
	var e *exitError
	if !errors.As(err, &e) {
		return err
	}
	fmt.Fprintln(a.Err, strings.TrimSpace(e.Error()))
	return nil
}

// readExperiment reads and checks a file, "-" for standard input, or a scenario of
// the library by its name. runs replaces repeat.runs unless it is 0.
func (a *app) readExperiment(arg string, runs int) (*experiment.Experiment, []byte, error) {
	source, err := a.readSource(arg)
	if err != nil {
		return nil, nil, &exitError{code: exitUsage, err: err}
	}
	exp, err := experiment.Parse(source, experiment.Options{FileName: arg, Runs: runs})
	var all experiment.Errors
	if errors.As(err, &all) {
		_, width := terminal(a.Err)
		count := fmt.Sprintf("%d errors", len(all))
		if len(all) == 1 {
			count = "1 error"
		}
		return nil, nil, &exitError{code: exitUsage, err: fmt.Errorf("%s\n%s", strings.TrimRight(all.Render(arg, source, width), "\n"), count)}
	}
	if err != nil {
		return nil, nil, &exitError{code: exitUsage, err: err}
	}
	return exp, source, nil
}

func (a *app) readSource(arg string) ([]byte, error) {
	if arg == "-" {
		return readLimited(a.In, "standard input")
	}
	f, err := os.Open(arg)
	if errors.Is(err, fs.ErrNotExist) && !strings.ContainsAny(arg, "/.") {
		if source, ok := experiment.Open(arg); ok {
			return source, nil
		}
		return nil, noSuchScenario(arg)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readLimited(f, arg)
}

func noSuchScenario(name string) error {
	var names []string
	for _, e := range experiment.Library() {
		names = append(names, e.Name)
	}
	hint := "; the library has: " + strings.Join(names, ", ")
	if near := experiment.Closest(name, names); near != "" {
		hint = fmt.Sprintf("; did you mean %s?", near)
	}
	return fmt.Errorf("no file %s, and no scenario of that name in the library%s", name, hint)
}

// readLimited reads one byte more than the language allows, so that the parser is
// the one to say what the limit is.
func readLimited(r io.Reader, name string) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, experiment.MaxBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %s", name, plainCause(err))
	}
	return b, nil
}
