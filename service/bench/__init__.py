"""What a case costs on this machine, measured over HTTP, beside the paper-size networks."""
