namespace SensorForwarder.Files;

/// <summary>Opens a file named by a person only if it is regular: opening a FIFO waits for a writer, and opening or
/// reading a device may change its state. Any thread.</summary>
internal static class RegularFile
{
    /// <summary>Opens a file, links followed. Blocks as long as the file system does.</summary>
    /// <exception cref="IOException">The file is not regular or can't be read; the message says which.</exception>
    /// <exception cref="UnauthorizedAccessException">This process has no permission to read the file.</exception>
    public static FileStream OpenRead(string path)
    {
        // Without a status, opening the file gives the more precise error.
        if (FileStatus.Of(path) is { IsRegularFile: false }) throw new IOException("it is not a regular file");
        var share = FileShare.ReadWrite | FileShare.Delete;
        return new FileStream(path, FileMode.Open, FileAccess.Read, share, bufferSize: 1);
    }
}
