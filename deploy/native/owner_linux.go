package native

import (
	"os"
	"syscall"
)

// identify returns what tells whether a file is still the one that was read.
func identify(path string, info os.FileInfo) (identity, bool) {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return identity{}, false
	}
	return identity{path, stat.Dev, stat.Ino, stat.Size, stat.Ctim.Sec, stat.Ctim.Nsec}, true
}

// ownership returns the numbers of a file's user and group.
func ownership(info os.FileInfo) (owner, group int, ok bool) {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, 0, false
	}
	return int(stat.Uid), int(stat.Gid), true
}
