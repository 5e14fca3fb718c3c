package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
)

// What the commands of a cluster have done, as -o json has it.
type (
	// clusterBegun is of init and join. Data is the directory, Advertise empty after init.
	clusterBegun struct {
		Cluster   string `json:"cluster"`
		Node      string `json:"node"`
		Data      string `json:"data"`
		Advertise string `json:"advertise,omitempty"`
	}
	// nodeRemoved is of remove.
	nodeRemoved struct {
		Removed string `json:"removed"`
	}
	// leadershipMoved is of transfer. From is empty if To led already, To if any other was meant.
	leadershipMoved struct {
		From string `json:"from,omitempty"`
		To   string `json:"to,omitempty"`
	}
	// snapshotWritten is of snapshot: Chunks of Runs are in File, Missing were left out.
	snapshotWritten struct {
		Cluster string `json:"cluster"`
		File    string `json:"file"`
		Runs    uint64 `json:"runs"`
		Chunks  uint64 `json:"chunks"`
		Missing uint64 `json:"missing_chunks,omitempty"`
		Bytes   int64  `json:"bytes"`
	}
	// clusterRestored is of restore: From is the node that had what Cluster begins with again.
	// Unfinished runs fail when the controller starts; Lost ones are removed, for want of chunks.
	clusterRestored struct {
		Cluster    string    `json:"cluster"`
		Node       string    `json:"node"`
		Data       string    `json:"data"`
		From       string    `json:"from"`
		Runs       uint64    `json:"runs"`
		Chunks     uint64    `json:"chunks"`
		Unfinished []string  `json:"unfinished_runs,omitempty"`
		Lost       []runLost `json:"lost_runs,omitempty"`
	}
	runLost struct {
		Run     string `json:"run"`
		Missing uint64 `json:"missing_chunks"`
		Chunks  uint64 `json:"chunks"`
	}
)

// doneFormats are those in which a command says what it has done.
var doneFormats = []string{"text", "json"}

// writeDone says in a format of doneFormats what was done: a line for people, or the same as
// JSON.
func writeDone(w io.Writer, format, line string, done any) error {
	if format == "json" {
		var b bytes.Buffer
		to := json.NewEncoder(&b)
		to.SetIndent("", "  ")
		if err := to.Encode(done); err != nil {
			return err
		}
		_, err := w.Write(b.Bytes())
		return err
	}
	_, err := fmt.Fprintln(w, line)
	return err
}
