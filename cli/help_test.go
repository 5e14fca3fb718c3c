package cli

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/spf13/cobra"
)

// TestFlagsFitATerminal holds the flags of every command to 80 columns.
func TestFlagsFitATerminal(t *testing.T) {
	seen := 0
	var walk func(*cobra.Command)
	walk = func(c *cobra.Command) {
		seen++
		_, flags, found := strings.Cut(c.UsageString(), "\nFlags:\n")
		if !found && c.HasAvailableLocalFlags() {
			t.Errorf("%s: the help does not tell its flags", c.CommandPath())
		}
		for line := range strings.Lines(flags) {
			if utf8.RuneCountInString(strings.TrimRight(line, "\n")) > 80 && !strings.HasPrefix(line, "Use \"") {
				t.Errorf("%s: %s", c.CommandPath(), line)
			}
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	a := &app{}
	walk(a.root())
	if seen < 40 {
		t.Errorf("%d commands", seen)
	}
}
