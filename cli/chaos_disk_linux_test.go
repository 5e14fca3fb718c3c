package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"syncline/cli/chaos"
)

// Disks of the other nodes are tmpfs. That of a node with a device is an ext4 on a loop device, whose image
// is on a tmpfs: a file system that can be frozen (ioctl_fifreeze(2)), which is a disk that does not
// answer, and shut down (FS_IOC_SHUTDOWN), which is one that answers with EIO and has lost what was not
// synced.
type chaosDevice struct {
	// loop holds the loop device, which goes with its last user (LO_FLAGS_AUTOCLEAR).
	loop *os.File
	// tmpfs has the image, and the mount point.
	tmpfs string
}

const (
	ioctlFreeze   = 0xc0045877 // FIFREEZE
	ioctlThaw     = 0xc0045878 // FITHAW
	ioctlShutdown = 0x8004587d // FS_IOC_SHUTDOWN, with EXT4_GOING_FLAGS_NOLOGFLUSH:
	noLogFlush    = 2

	deviceMount = "ext4"
)

func needsDevice(schedule []chaos.Fault) bool {
	return slices.ContainsFunc(schedule, func(f chaos.Fault) bool { return f.Kind.NeedsDevice() })
}

// useDevice gives a node an ext4 of its own, on the tmpfs that it has.
func (n *chaosNode) useDevice() error {
	d := &chaosDevice{tmpfs: n.disk}
	image := filepath.Join(d.tmpfs, "image")
	f, err := os.OpenFile(image, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Truncate(diskBytes); err != nil {
		return err
	}
	if said, err := exec.Command("mkfs.ext4", "-q", "-F", "-m", "0", "-J", "size=16", image).CombinedOutput(); err != nil {
		return fmt.Errorf("mkfs.ext4 %s: %w: %s", image, err, said)
	}
	if d.loop, err = attach(f); err != nil {
		return fmt.Errorf("attach %s to a loop device: %w", image, err)
	}
	n.disk = filepath.Join(d.tmpfs, deviceMount)
	if err := os.Mkdir(n.disk, 0o700); err != nil {
		return errors.Join(err, d.loop.Close())
	}
	n.device = d
	return n.mountDevice()
}

// attach makes a file a block device.
func attach(image *os.File) (*os.File, error) {
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer control.Close()
	// Another process may take the same one.
	for range 10 {
		number, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return nil, os.NewSyscallError("ioctl LOOP_CTL_GET_FREE", err)
		}
		loop, err := os.OpenFile("/dev/loop"+strconv.Itoa(number), os.O_RDWR, 0)
		if err != nil {
			return nil, err
		}
		config := &unix.LoopConfig{Fd: uint32(image.Fd()), Info: unix.LoopInfo64{Flags: unix.LO_FLAGS_AUTOCLEAR}}
		err = unix.IoctlLoopConfigure(int(loop.Fd()), config)
		if err == nil {
			return loop, nil
		}
		loop.Close()
		if !errors.Is(err, unix.EBUSY) {
			return nil, os.NewSyscallError("ioctl LOOP_CONFIGURE", err)
		}
	}
	return nil, errors.New("all that are free are taken by others")
}

// mountDevice mounts it without the option discard: a file system that is shut down discards the blocks of
// files that its journal has not removed.
func (n *chaosNode) mountDevice() error {
	err := unix.Mount(n.device.loop.Name(), n.disk, "ext4", unix.MS_NOATIME, "")
	return os.NewSyscallError("mount", err)
}

// removeDisk unmounts what a node has.
func (n *chaosNode) removeDisk() error {
	if n.device == nil {
		return n.unmount(n.disk)
	}
	return errors.Join(n.unmount(n.disk), n.device.loop.Close(), n.unmount(n.device.tmpfs))
}

func (n *chaosNode) unmount(at string) error {
	if err := unix.Unmount(at, 0); err != nil {
		return fmt.Errorf("unmount %s: %w", at, os.NewSyscallError("umount2", err))
	}
	return nil
}

// askFilesystem makes an ioctl(2) of the file system that a directory is in. Not all look at the value.
func askFilesystem(dir string, what uint, value int) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	err = unix.IoctlSetPointerInt(int(f.Fd()), what, value)
	return os.NewSyscallError("ioctl "+strconv.FormatUint(uint64(what), 16), err)
}

// someDevice is the node with a device.
func (i *injury) someDevice() (*chaosNode, error) {
	for _, n := range i.lab.nodes {
		if n.device != nil && n.running() {
			return n, nil
		}
	}
	return nil, fmt.Errorf("%w: the node with a device is down", errNothing)
}

// stopwatch writes a page and syncs it again and again, until ctx is done; it gives how long
// the longest took.
func stopwatch(ctx context.Context, dir string) <-chan time.Duration {
	done := make(chan time.Duration, 1)
	go func() {
		var longest time.Duration
		name := filepath.Join(dir, "stopwatch")
		page := make([]byte, 4096)
		for ctx.Err() == nil {
			began := time.Now()
			if err := writeSynced(name, page); err != nil {
				break // a full disk is another fault's
			}
			longest = max(longest, time.Since(began))
			wait(ctx, 20*time.Millisecond)
		}
		os.Remove(name)
		done <- longest
	}()
	return done
}

func writeSynced(name string, data []byte) error {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// fill leaves no byte on a node's disk.
func (i *injury) fill(n *chaosNode) error {
	name := filepath.Join(n.disk, "filler")
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer f.Close()
	block := make([]byte, 1<<20)
	for {
		_, err = f.Write(block)
		if errors.Is(err, syscall.ENOSPC) && len(block) > 1 {
			block = block[:len(block)/16+1]
			if len(block) > 256 {
				continue
			}
		}
		if err != nil {
			break
		}
	}
	if !errors.Is(err, syscall.ENOSPC) {
		return err
	}
	i.heal = func() (string, error) {
		var at unix.Statfs_t
		if err := unix.Statfs(n.disk, &at); err != nil {
			return "", os.NewSyscallError("statfs", err)
		}
		proof := ""
		if at.Bavail*uint64(at.Bsize) < 1<<20 {
			proof = fmt.Sprintf("%d bytes were free at %s", at.Bavail*uint64(at.Bsize), n.tag)
		}
		return proof, os.Remove(name)
	}
	return nil
}

// readOnly makes a node's disk read-only. A file system with files that are open for writing cannot
// be made so (EBUSY): the node is down at that moment, and is started on it.
func (i *injury) readOnly(n *chaosNode) error {
	if err := n.remount(unix.MS_RDONLY); err != nil {
		return err
	}
	i.heal = func() (string, error) {
		proof := ""
		if err := os.WriteFile(filepath.Join(n.disk, "probe"), nil, 0o600); errors.Is(err, syscall.EROFS) {
			proof = fmt.Sprintf("writing to the disk of %s failed with EROFS", n.tag)
		}
		return proof, n.remount(0)
	}
	return nil
}

// remount changes the flags of a node's disk, while the node is down.
func (n *chaosNode) remount(flags uintptr) error {
	_, err := n.hold(syscall.SIGKILL)
	defer n.release()
	if err != nil {
		return err
	}
	if n.device != nil {
		flags |= unix.MS_NOATIME
	}
	// Whoever writes to it now, for a moment, keeps it from becoming read-only.
	_, err = n.lab.until(10*time.Second, func() error {
		return os.NewSyscallError("mount", unix.Mount("", n.disk, "", unix.MS_REMOUNT|flags, ""))
	})
	if err != nil {
		return fmt.Errorf("mount the disk of %s again with flags %#x: %w", n.tag, flags, err)
	}
	return nil
}

// slowDisk has a node's disk answer for 100 ms, and then not for 300 ms.
func (i *injury) slowDisk(n *chaosNode) error {
	ctx, cancel := context.WithCancel(context.Background())
	longest := stopwatch(ctx, n.disk)
	done := make(chan error, 1)
	go func() {
		var err error
		for ctx.Err() == nil && err == nil {
			if err = askFilesystem(n.disk, ioctlFreeze, 0); err != nil {
				break
			}
			wait(ctx, 300*time.Millisecond)
			err = askFilesystem(n.disk, ioctlThaw, 0)
			wait(ctx, 100*time.Millisecond)
		}
		done <- err
	}()
	i.heal = func() (string, error) {
		cancel()
		err := <-done
		took := <-longest
		if took < 200*time.Millisecond {
			return "", err
		}
		return fmt.Sprintf("a write to the disk of %s took %v", n.tag, took.Round(time.Millisecond)), err
	}
	return nil
}

// stallLimit is what a node waits for its disk, with what a busy machine needs to notice.
const stallLimit = 7 * time.Second

// hangDisk has a node's disk not answer at all. A node whose disk hangs for longer than it waits ends: its
// process is gone when the disk answers again.
func (i *injury) hangDisk(n *chaosNode) error {
	ctx, cancel := context.WithCancel(context.Background())
	longest := stopwatch(ctx, n.disk)
	was := n.current()
	if err := askFilesystem(n.disk, ioctlFreeze, 0); err != nil {
		cancel()
		return err
	}
	i.heal = func() (string, error) {
		err := askFilesystem(n.disk, ioctlThaw, 0)
		cancel()
		took := <-longest
		if err != nil || took < time.Second {
			return "", err
		}
		proof := fmt.Sprintf("a write to the disk of %s took %v", n.tag, took.Round(time.Millisecond))
		if was == nil || took < stallLimit {
			return proof, nil
		}
		_, err = i.lab.until(backLimit, func() error {
			if n.current() == was {
				return fmt.Errorf("the disk of %s did not answer for %v, and its process goes on", n.tag, took)
			}
			return nil
		})
		return proof, err
	}
	return nil
}

// failDisk has every call of a node's disk fail with EIO, and forgets what was not synced. It is mounted
// again when it is healed, as after a loss of power.
func (i *injury) failDisk(n *chaosNode) error {
	if err := askFilesystem(n.disk, ioctlShutdown, noLogFlush); err != nil {
		return err
	}
	i.heal = func() (string, error) {
		proof := ""
		if err := writeSynced(filepath.Join(n.disk, "probe"), nil); errors.Is(err, syscall.EIO) {
			proof = fmt.Sprintf("writing to the disk of %s failed with EIO", n.tag)
		}
		_, held := n.hold(syscall.SIGKILL)
		defer n.release()
		if held != nil {
			return proof, held
		}
		// Whoever looks at it now has it open for a moment.
		_, err := i.lab.until(10*time.Second, func() error { return n.unmount(n.disk) })
		if err != nil {
			return proof, err
		}
		return proof, n.mountDevice()
	}
	return nil
}

// thawStale lets a file system answer again that a test left frozen: else it could not be unmounted.
func thawStale(tmpfs string) {
	at := filepath.Join(tmpfs, deviceMount)
	if _, err := os.Stat(at); errors.Is(err, fs.ErrNotExist) {
		return
	}
	// EINVAL: it was not frozen.
	_ = askFilesystem(at, ioctlThaw, 0)
}
