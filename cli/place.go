package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// besideName is under what name a file is written until it is whole: beside its place, so
// that giving it its name is one rename(2) within a file system.
func besideName(name string) string {
	// os.CreateTemp would make it for its owner alone, whatever the umask says.
	return filepath.Join(filepath.Dir(name), fmt.Sprintf(".%s.%d", filepath.Base(name), os.Getpid()))
}

// makeBeside makes the file that is to become name, for writing and reading back.
func makeBeside(name string) (*os.File, error) {
	f, err := os.OpenFile(besideName(name), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return nil, &exitError{code: exitUsage, err: fmt.Errorf("make a file beside %s: %w%s", name, err, placeHint(name))}
	}
	return f, nil
}

// placeHint is what to do about a place where no file can be made.
func placeHint(name string) string {
	dir := filepath.Dir(name)
	switch info, err := os.Stat(dir); {
	case errors.Is(err, os.ErrNotExist):
		return "\nMake the directory first: " + shellCommand("mkdir", "-p", "--", dir)
	case err == nil && !info.IsDir():
		return fmt.Sprintf("\n%s is no directory: give another place", dir)
	}
	return "\nGive a place where you may make files"
}

// checkPlace finds out if a file can be made under a name, before any work is done for it: it
// makes the very file that newFile would write, and removes it. What is there already is
// replaced only if force says so. Meanwhile others may still take the name or the room.
func checkPlace(name string, force bool) error {
	if info, err := os.Lstat(name); err == nil {
		if err := replaceable(name, info); err != nil {
			return err
		}
		if !force {
			return takenError(name)
		}
	}
	f, err := makeBeside(name)
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}
