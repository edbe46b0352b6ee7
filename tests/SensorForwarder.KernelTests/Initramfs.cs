using System.Globalization;
using System.Text;

namespace SensorForwarder.KernelTests;

/// <summary>Writes the initial root file system as a cpio archive in "newc" format (Linux,
/// Documentation/driver-api/early-userspace/buffer-format.rst).</summary>
sealed class Initramfs(Stream stream)
{
    const int DirectoryMode = 0x41ED, FileMode = 0x81ED; // drwxr-xr-x, -rwxr-xr-x

    readonly HashSet<string> _directories = [];
    int _number;

    public void Add(string path, byte[] content)
    {
        AddDirectoriesOf(path);
        Write(path, FileMode, content);
    }

    public void Add(string path, string text) => Add(path, Encoding.UTF8.GetBytes(text));

    public void AddFile(string path, string source) => Add(path, File.ReadAllBytes(source));

    public void AddDirectory(string path)
    {
        AddDirectoriesOf(path);
        if (_directories.Add(path)) Write(path, DirectoryMode, []);
    }

    public void End() => Write("TRAILER!!!", 0, []);

    void AddDirectoriesOf(string path)
    {
        for (var end = path.IndexOf('/', StringComparison.Ordinal); end > 0; end = path.IndexOf('/', end + 1))
        {
            if (_directories.Add(path[..end])) Write(path[..end], DirectoryMode, []);
        }
    }

    void Write(string path, int mode, byte[] content)
    {
        // Inode, mode, user, group, links, time, length, two devices with major and minor number, length of the name,
        // checksum.
        int[] fields = [++_number, mode, 0, 0, 1, 0, content.Length, 0, 0, 0, 0, path.Length + 1, 0];
        var header = "070701" + string.Concat(fields.Select(field => field.ToString("X8", CultureInfo.InvariantCulture)));
        stream.Write(Encoding.ASCII.GetBytes(header + path + '\0'));
        Pad();
        stream.Write(content);
        Pad();
    }

    void Pad()
    {
        while (stream.Position % 4 != 0) stream.WriteByte(0);
    }
}
