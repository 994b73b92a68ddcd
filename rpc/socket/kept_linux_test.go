package socket

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestAHubWhoseFilesAreRemovedIsFoundAgain(t *testing.T) {
	for name, remove := range map[string]func(run string) error{
		"the folder":       os.RemoveAll,
		"all folders":      func(run string) error { return os.RemoveAll(filepath.Dir(run)) },
		"the lock":         func(run string) error { return os.Remove(filepath.Join(run, "lock")) },
		"the socket":       func(run string) error { return os.Remove(filepath.Join(run, "hub.sock")) },
		"the lock's inode": func(run string) error { return replace(filepath.Join(run, "lock")) },
	} {
		t.Run(name, func(t *testing.T) {
			home(t)
			p := paths(t, "/srv/shop")
			lock, err := Lock(p)
			if err != nil {
				t.Fatal(err)
			}
			k, err := Keep(p, lock)
			if err != nil {
				t.Fatal(err)
			}
			accepted := make(chan error, 1)
			go func() {
				for {
					c, err := Accept(k, func(err error) { t.Error(err) })
					if err != nil {
						accepted <- err
						return
					}
					c.Close()
				}
			}()
			if mended, err := k.Mend(); mended || err != nil {
				t.Errorf("nothing was wrong: %v, %v", mended, err)
			}
			if err := remove(p.Run); err != nil {
				t.Fatal(err)
			}
			if mended, err := k.Mend(); !mended || err != nil {
				t.Fatalf("mended: %v, %v", mended, err)
			}
			c, err := dial(ctx(t), p)
			if err != nil {
				t.Fatalf("nobody finds it: %v", err)
			}
			c.Close()
			if f, err := Lock(p); !errors.Is(err, ErrLocked) {
				t.Errorf("a second hub could live: %v, %v", f, err)
			}
			if info, err := os.Stat(p.Socket()); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("%v, %v", info, err)
			}
			k.Close()
			if err := <-accepted; err == nil {
				t.Error("closed, it accepts")
			}
			k.lock.Close()
		})
	}
}

// replace gives a file's name to another one.
func replace(path string) error {
	return errors.Join(os.WriteFile(path+".new", nil, 0o600), os.Rename(path+".new", path))
}

func TestAHubDoesNotTakeBackWhatAnotherHas(t *testing.T) {
	home(t)
	p := paths(t, "/srv/shop")
	lock, err := Lock(p)
	if err != nil {
		t.Fatal(err)
	}
	k, err := Keep(p, lock)
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	if err := os.Remove(p.Lock()); err != nil {
		t.Fatal(err)
	}
	other, err := Lock(p)
	if err != nil {
		t.Fatal(err)
	}
	if mended, err := k.Mend(); mended || !errors.Is(err, ErrLocked) {
		t.Errorf("%v, %v", mended, err)
	}
	other.Close()
	if mended, err := k.Mend(); !mended || err != nil {
		t.Errorf("%v, %v", mended, err)
	}
	k.lock.Close()
}

func TestSECURITY007TheLockIsPrivateAndHoldsNothing(t *testing.T) {
	home(t)
	p := paths(t, "/srv/shop")
	if err := os.WriteFile(p.Lock(), nil, 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(p.Lock(), 0o666); err != nil {
		t.Fatal(err)
	}
	lock, err := Lock(p)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if info, err := lock.Stat(); err != nil || info.Mode().Perm() != 0o600 || info.Size() != 0 {
		t.Errorf("%v, %v", info, err)
	}
	if info, err := os.Stat(filepath.Dir(p.Lock())); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", info, err)
	}
}
