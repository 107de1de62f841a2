"""One pass on one host: source, observation, plan, execution, and what is remembered between passes."""
