package cli

import (
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"syncline/controller"
)

func (a *app) versionCommand() *cobra.Command {
	var output string
	c := &cobra.Command{
		Use:   "version",
		Short: "Print the version of this program",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			v := map[string]any{
				"version": Version, "go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH,
				"protocol": controller.Protocol, "revision": revision(),
			}
			switch output {
			case "json":
				return json.NewEncoder(a.Out).Encode(v)
			case "table":
				_, err := fmt.Fprintf(a.Out, "syncline %s %s %s %s/%s, agent protocol %d\n", Version, revision(), runtime.Version(), runtime.GOOS, runtime.GOARCH, controller.Protocol)
				return err
			}
			return unknownFormat(output, "table", "json")
		},
	}
	formatFlag(c, &output, "table", "json")
	return c
}

// revision is the commit the binary was built from, if the build recorded it.
func revision() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value[:min(12, len(s.Value))]
		}
	}
	return "unrecorded"
}
