Console.WriteLine("EdgeSimulator");
