package probe

func helper(string) {}
