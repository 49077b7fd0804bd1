"""How slow the sandbox is: chunks to make, a cost for each request and shape, the link to the client."""
